//! From the golden files' network format (the terms of neural-tangents' `stax`) to a `Net`.

mod activation;
mod arguments;
mod layers;

use ntk_core::{Net, Shape};
use serde_json::Value;

pub use activation::dual_activation;

use arguments::{Arguments, malformed};

/// Why a golden network has no `Net`.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Unsupported {
    /// A node that `Net` does not have.
    #[error("no node {name}")]
    Node {
        /// Name in the file.
        name: String,
    },
    /// An argument that the node does not take here.
    #[error("{node} with {argument} = {value}")]
    Argument {
        /// Name of the node.
        node: String,
        /// Name of the argument.
        argument: String,
        /// What the file gives.
        value: String,
    },
    /// A tree that does not follow the format.
    #[error("malformed network: {reason}")]
    Malformed {
        /// What is wrong.
        reason: String,
    },
    /// A number that the description refuses, or a layer that does not fit its input.
    #[error(transparent)]
    Core(#[from] ntk_core::Error),
}

/// The `Net` of a golden network whose inputs are vectors, of whatever number of features.
///
/// # Errors
/// As [`net_for`].
pub fn net(network: &Value) -> Result<Net, Unsupported> {
    read(network, Place(None))
}

/// The `Net` of a golden network for inputs of a given shape, which decides what its axes mean.
///
/// Widths are fixed to those of the file (16 where it is silent), since standard parameterization and channel
/// concatenation read them. Array axes become axes of positions: the first is that of the samples, the last that of the
/// channels. `DotGeneral` with a matrix leaves the axis where it is: the kernel of the outputs does not depend on it.
///
/// # Errors
/// [`Unsupported`], naming the first node or argument without a counterpart.
///
/// ```
/// use ntk_core::Shape;
/// use ntk_testkit::golden;
/// let network = serde_json::json!({"serial": [
///     {"Conv": {"filter_shape": [3, 3], "padding": "SAME", "width": 8}}, {"Relu": {}}, {"GlobalAvgPool": {}},
/// ]});
/// let image = Shape::grid(&[6, 5], 3)?;
/// let net = golden::net_for(&network, &image)?;
/// assert_eq!(net.output_shape(&image)?, Shape::vector(8));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn net_for(network: &Value, input: &Shape) -> Result<Net, Unsupported> {
    read(network, Place(Some(*input)))
}

/// The shape at one place of the network; vectors whose number of features is unknown if none.
#[derive(Clone, Copy)]
struct Place(Option<Shape>);

impl Place {
    fn sides(&self) -> Vec<usize> {
        self.0.map(|shape| shape.positions().sides().to_vec()).unwrap_or_default()
    }

    /// Axes of the array, those of samples and channels included.
    fn rank(&self) -> usize {
        2 + self.sides().len()
    }

    fn after(self, net: &Net) -> Result<Place, Unsupported> {
        Ok(Place(self.0.map(|shape| net.output_shape(&shape)).transpose()?))
    }
}

fn read(network: &Value, place: Place) -> Result<Net, Unsupported> {
    let arguments = Arguments::of(network)?;
    match arguments.node() {
        "serial" => serial(arguments.nodes()?, place),
        _ => layers::layer(arguments, place),
    }
}

/// A chain, in which `FanOut`, any number of `parallel` and `FanIn…` in a row make one combinator.
fn serial(nodes: &[Value], start: Place) -> Result<Net, Unsupported> {
    let (mut nets, mut place) = (Vec::new(), start);
    let mut branches: Option<Vec<Net>> = None;
    for node in nodes {
        let arguments = Arguments::of(node)?;
        let net = match (arguments.node(), branches.take()) {
            ("FanOut", None) => {
                arguments.only(&["n"])?;
                branches = Some(vec![Net::identity(); arguments.count("n", None)?]);
                continue;
            }
            ("parallel", here) => {
                let nodes = arguments.nodes()?;
                let here = here.unwrap_or_else(|| vec![Net::identity(); nodes.len()]);
                if here.len() != nodes.len() {
                    let (there, here) = (nodes.len(), here.len());
                    return Err(malformed(format!("parallel of {there} branches after {here}")));
                }
                let grown = here.into_iter().zip(nodes).map(|(net, node)| {
                    let next = read(node, place.after(&net)?)?;
                    Ok(net.then(next))
                });
                branches = Some(grown.collect::<Result<_, Unsupported>>()?);
                continue;
            }
            ("FanInSum" | "FanInProd" | "FanInConcat", Some(here)) => fan_in(arguments, here, place)?,
            (_, None) => read(node, place)?,
            (name, Some(_)) => {
                return Err(malformed(format!("{name} where a parallel or a fan-in should follow")));
            }
        };
        place = place.after(&net)?;
        nets.push(net);
    }
    match branches {
        None => Ok(Net::serial(nets)),
        Some(_) => Err(malformed("branches without a fan-in".to_owned())),
    }
}

fn fan_in(arguments: Arguments<'_>, branches: Vec<Net>, start: Place) -> Result<Net, Unsupported> {
    match arguments.node() {
        "FanInSum" => arguments.only(&[]).map(|()| Net::sum(branches)),
        "FanInProd" => arguments.only(&[]).map(|()| Net::product(branches)),
        _ => {
            arguments.only(&["axis"])?;
            let end = branches.first().map_or(Ok(start), |net| start.after(net))?;
            let rank = end.rank();
            match arguments.axes("axis", rank, &[-1])?[..] {
                [axis] if axis + 1 == rank => Ok(Net::concat(branches)),
                [axis] if axis > 0 => Ok(Net::join(axis - 1, branches)),
                _ => Err(arguments.wrong("axis")),
            }
        }
    }
}
