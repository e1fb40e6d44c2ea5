//! Laws, random networks and golden values for testing kernels of wide networks, your own included.
//!
//! * [`laws`]: a conformance suite for any [`KernelFn`](ntk_core::KernelFn).
//! * [`strategies`]: random networks, activations, inputs and Gram matrices for proptest, with shrinking.
//! * [`golden`]: reference values of other programs and of 60-digit arithmetic.

pub mod golden;
pub mod laws;
pub mod strategies;

use proptest::test_runner::{Config, RngSeed};

/// This many random cases for `proptest_config`, the same in every run; the environment variables `PROPTEST_CASES` and
/// `PROPTEST_RNG_SEED` ask for more or others.
pub fn cases(default: u32) -> Config {
    let config = Config::default();
    let cases = if std::env::var_os("PROPTEST_CASES").is_some() { config.cases } else { default };
    let rng_seed = if config.rng_seed == RngSeed::Random { RngSeed::Fixed(2019) } else { config.rng_seed };
    Config { cases, rng_seed, ..config }
}
