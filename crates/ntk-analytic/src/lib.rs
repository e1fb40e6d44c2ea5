//! NNGP and neural tangent kernels of infinitely wide networks, exactly
