//! Input samples: what an array in a file means to a network.

use clap::Args;
use ndarray::{Array2, ArrayD, Axis, Ix2};
use ntk_core::{Batch, Net};

use crate::error::Error;
use crate::files::Source;

/// How the arrays of samples are read.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct Reading {
    /// Shape of one sample, channels last, for files whose rows are flattened samples: 32,32,3.
    ///
    /// Without it a sample has the shape it has in its file: (n, d) are vectors, (n, h, w, c) are images.
    #[arg(long, value_name = "SIDES,CHANNELS", value_delimiter = ',', conflicts_with = "vocabulary")]
    sample_shape: Option<Vec<usize>>,
    /// The samples are sequences of tokens, integers below this size.
    #[arg(long, value_name = "SIZE")]
    vocabulary: Option<usize>,
}

/// Samples that were read and checked.
#[derive(Debug)]
pub(crate) struct Samples {
    /// The file, for messages.
    pub(crate) source: String,
    values: Values,
}

#[derive(Debug)]
enum Values {
    /// (n, sides …, channels), in standard layout.
    Real(ArrayD<f64>),
    Tokens(Array2<u32>, usize),
}

impl Reading {
    /// Reads samples and refuses what is empty, not finite, or not of the shape it should have.
    pub(crate) fn read(&self, source: &str) -> Result<Samples, Error> {
        let array = Source::new(source).read()?;
        let found = array.shape().to_vec();
        let wrong = |reason: String| Error::input(source, reason);
        let values = match (&self.sample_shape, self.vocabulary) {
            (_, Some(vocabulary)) => {
                let tokens = array.into_dimensionality::<Ix2>();
                let tokens = tokens
                    .map_err(|_| wrong(format!("tokens have shape (samples, positions), not {found:?}")))?;
                let stray =
                    tokens.iter().find(|v| v.fract() != 0.0 || !(0.0..=f64::from(u32::MAX)).contains(*v));
                if let Some(stray) = stray {
                    return Err(wrong(format!("{stray} is not a token: tokens are integers from 0")));
                }
                Values::Tokens(tokens.mapv(|v| v as u32), vocabulary)
            }
            (Some(sample), None) => {
                let sides = sample.iter().try_fold(1usize, |all, &side| all.checked_mul(side));
                let numbers: usize = found.iter().skip(1).product();
                if sides != Some(numbers) || found.is_empty() {
                    return Err(wrong(format!(
                        "samples of shape {:?} are not {sample:?}",
                        &found[1.min(found.len())..]
                    )));
                }
                let shape = [&found[..1], sample].concat();
                Values::Real(array.into_shape_with_order(shape).map_err(Error::refused(source))?)
            }
            (None, None) if found.len() < 2 => {
                return Err(wrong(format!(
                    "samples have shape (samples, …, channels), not {found:?}: reshape with x.reshape(n, -1)"
                )));
            }
            (None, None) => Values::Real(array),
        };
        let samples = Samples { source: source.to_owned(), values };
        samples.batch()?.check().map_err(Error::refused(source))?;
        Ok(samples)
    }
}

impl Samples {
    /// Samples of a shape, or sequences of tokens, that hold nothing: to ask what they would cost.
    pub(crate) fn blank(count: usize, sample: &[usize], vocabulary: Option<usize>) -> Result<Self, Error> {
        let shape = [&[count][..], sample].concat();
        let numbers = shape.iter().try_fold(1usize, |all, &side| all.checked_mul(side));
        if numbers.is_none_or(|n| Vec::<f64>::new().try_reserve_exact(n).is_err()) {
            let reason = format!("{count} samples of shape {sample:?} do not fit in memory");
            return Err(Error::input("--samples", reason));
        }
        // The system hands out zeros that nobody touches for free.
        let values = match (vocabulary, sample) {
            (Some(vocabulary), &[length]) => Values::Tokens(Array2::zeros((count, length)), vocabulary),
            _ => Values::Real(ArrayD::zeros(shape)),
        };
        Ok(Samples { source: "--sample-shape".to_owned(), values })
    }

    /// The batch.
    pub(crate) fn batch(&self) -> Result<Batch<'_>, Error> {
        let batch = match &self.values {
            Values::Real(values) => match values.view().into_dimensionality::<Ix2>() {
                Ok(vectors) => Ok(vectors.into()),
                Err(_) => Batch::grid(values.view()),
            },
            Values::Tokens(tokens, vocabulary) => Batch::tokens(tokens.view(), *vocabulary),
        };
        batch.map_err(Error::refused(&self.source))
    }

    /// Number of samples.
    pub(crate) fn len(&self) -> usize {
        match &self.values {
            Values::Real(values) => values.len_of(Axis(0)),
            Values::Tokens(tokens, _) => tokens.nrows(),
        }
    }

    /// The shape as the file has it.
    pub(crate) fn shape(&self) -> &[usize] {
        match &self.values {
            Values::Real(values) => values.shape(),
            Values::Tokens(tokens, _) => tokens.shape(),
        }
    }

    /// Refuses samples that the network cannot read.
    pub(crate) fn check_for(&self, net: &Net) -> Result<(), Error> {
        let shape = self.batch()?.shape().map_err(Error::refused(&self.source))?;
        net.output_shape(&shape).map_err(Error::refused(&self.source))?;
        Ok(())
    }

    /// Refuses samples that do not live in one space with others.
    pub(crate) fn check_beside(&self, other: &Samples) -> Result<(), Error> {
        let both = format!("{} and {}", self.source, other.source);
        Batch::check_pair(self.batch()?, other.batch()?).map_err(Error::refused(both))
    }
}
