//! Finite-width networks on candle: tangent kernels without Jacobians, linearization, training
