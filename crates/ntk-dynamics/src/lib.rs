//! Training of wide networks in function space: closed-form gradient flow and descent, ensembles, Gaussian-process posteriors
