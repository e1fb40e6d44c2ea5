//! Shape inference: which widths come out when a shape goes in, with errors that name the layer to change.

use crate::{Error, Layer, Net, NetKind, Width};

/// The shape of one sample: its channels, which may be symbolic.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Shape {
    channels: Width,
}

impl Shape {
    /// A vector of this many channels.
    pub fn vector(channels: usize) -> Self {
        Shape { channels: Width::Fixed(channels) }
    }

    /// The channels.
    pub fn channels(&self) -> Width {
        self.channels
    }
}

impl Net {
    /// The shape of the output for an input of a given shape.
    ///
    /// # Errors
    /// Those of [`Net::check`]; [`Error::BranchWidths`] where branches of a sum or product differ in width;
    /// [`Error::MixedWidths`] where a concatenation has a hidden and a fixed one.
    ///
    /// ```
    /// use ntk_core::{Net, Shape, Variance, Width};
    /// let net = Net::readout(3, Variance::ONE, Variance::ZERO);
    /// assert_eq!(net.output_shape(&Shape::vector(7))?.channels(), Width::Fixed(3));
    /// # Ok::<(), ntk_core::Error>(())
    /// ```
    pub fn output_shape(&self, input: &Shape) -> Result<Shape, Error> {
        match self.kind() {
            NetKind::Layer(layer) => {
                layer.check()?;
                Ok(match layer {
                    Layer::Dense { width, .. } => Shape { channels: *width },
                    Layer::Activation(_)
                    | Layer::LayerNorm { .. }
                    | Layer::Dropout { .. }
                    | Layer::Custom { .. } => *input,
                })
            }
            NetKind::Serial(nets) => nets.iter().try_fold(*input, |shape, net| net.output_shape(&shape)),
            NetKind::Sum(nets) => equal("sum", nets, input),
            NetKind::Product(nets) => equal("product", nets, input),
            NetKind::Concat(nets) => {
                let mut channels: Option<Width> = None;
                for net in nets {
                    let right = net.output_shape(input)?.channels;
                    channels = Some(match (channels, right) {
                        (None, only) => only,
                        (Some(Width::Fixed(a)), Width::Fixed(b)) => Width::Fixed(a.saturating_add(b)),
                        (Some(Width::Hidden(a)), Width::Hidden(b)) => Width::Hidden(a + b),
                        (Some(left), right) => {
                            return Err(Error::MixedWidths { left, right });
                        }
                    });
                }
                channels
                    .map(|channels| Shape { channels })
                    .ok_or(Error::NoBranches { combinator: "concatenation" })
            }
        }
    }
}

fn equal(combinator: &'static str, nets: &[Net], input: &Shape) -> Result<Shape, Error> {
    let mut shapes = nets.iter().map(|net| net.output_shape(input));
    let first = shapes.next().ok_or(Error::NoBranches { combinator })??;
    for shape in shapes {
        let shape = shape?;
        if shape != first {
            return Err(Error::BranchWidths { combinator, left: first.channels, right: shape.channels });
        }
    }
    Ok(first)
}
