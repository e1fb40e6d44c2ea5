//! Experiments that rebuild the claims of the papers, and the benchmarks
