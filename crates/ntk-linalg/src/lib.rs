//! The linear algebra that kernels need, in and out of ndarray: Cholesky, symmetric eigensystems, triangular solves
