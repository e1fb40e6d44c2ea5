//! A draw of a tensor program in tensors, for widths that want an accelerator.

use candle_core::{DType, Device, Tensor};
use ntk_core::program::{
    Estimate, Expr, Function, Interpretation, Line, Program, ScalarId, ScalarOp, VectorId, VectorOp,
};

use super::{drawn_inputs, drawn_matrix, width};
use crate::Error;

/// The draw that [`FiniteProgram`](crate::FiniteProgram) is, with vectors and matrices on a device: same seed, same numbers
/// before they are rounded to `dtype`.
///
/// Matrices are drawn on the CPU when they are first used, moved once, and never transposed in memory. Means are read
/// back, one number each.
///
/// ```
/// use ntk_core::program::{Builder, Expr, Interpretation};
/// use ntk_empirical::DeviceProgram;
/// use ntk_empirical::candle_core::{DType, Device};
///
/// let mut p = Builder::new();
/// let (x, w) = (p.input("x", 0.0, 1.0)?, p.matrix("W", 2.0)?);
/// let g = p.matmul(w, x)?;
/// let h = p.apply(Expr::arg(0).relu(), &[g])?;
/// let draw = DeviceProgram::draw(p.finish(), 2000, 1, &Device::Cpu, DType::F32)?;
/// assert!((draw.inner(h, h)?.value - 1.0).abs() < 0.15); // E max(g, 0)² = ½ · 2
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct DeviceProgram {
    program: Program,
    matrices: Vec<Option<Tensor>>,
    vectors: Vec<Tensor>,
    scalars: Vec<f64>,
}

impl DeviceProgram {
    /// Draws and evaluates a program whose dimensions are n times their ratios, rounded.
    ///
    /// # Errors
    /// [`Error::Setting`] for n = 0; [`Error::NonFinite`] where a scalar overflows; [`Error::Candle`].
    pub fn draw(program: Program, n: usize, seed: u64, device: &Device, dtype: DType) -> Result<Self, Error> {
        if n == 0 {
            return Err(Error::Setting { option: "width", value: 0.0, domain: "at least 1" });
        }
        let mut draw = DeviceProgram {
            matrices: vec![None; program.matrices().len()],
            vectors: Vec::new(),
            scalars: Vec::new(),
            program: Program::default(),
        };
        for line in program.lines() {
            match line {
                Line::Inputs(group) => {
                    for x in drawn_inputs(&program, *group, n, seed) {
                        let x = Tensor::new(x.to_vec(), &Device::Cpu)?;
                        draw.vectors.push(x.to_dtype(dtype)?.to_device(device)?);
                    }
                }
                Line::Vector(id) => {
                    let value = match program.vector(*id) {
                        VectorOp::Input { .. } => continue,
                        VectorOp::LinComb(terms) => {
                            let sum = terms.iter().enumerate().map(|(k, (a, _))| Expr::arg(k) * *a);
                            let of: Vec<VectorId> = terms.iter().map(|(_, x)| *x).collect();
                            draw.eval(&Expr::sum(sum), &of, &[])?
                        }
                        VectorOp::Nonlin { f, vectors, scalars } => draw.eval(f, vectors, scalars)?,
                        VectorOp::MatMul { matrix, transposed, vector } => {
                            let w = match &mut draw.matrices[matrix.index()] {
                                Some(w) => w,
                                none => {
                                    let w = drawn_matrix(&program, *matrix, n, seed);
                                    let (dim, numbers) = (w.dim(), w.into_raw_vec_and_offset().0);
                                    let w = Tensor::from_vec(numbers, dim, &Device::Cpu)?;
                                    none.insert(w.to_dtype(dtype)?.to_device(device)?)
                                }
                            };
                            let x = draw.vectors[vector.index()].unsqueeze(1)?;
                            let y = if *transposed { w.t()?.matmul(&x)? } else { w.matmul(&x)? };
                            Value::Many(y.squeeze(1)?)
                        }
                    };
                    let rows = width(n, program.ratio(*id));
                    draw.vectors.push(match value {
                        Value::Many(x) => x,
                        Value::One(x) => Tensor::full(x, rows, device)?.to_dtype(dtype)?,
                    });
                }
                Line::Scalar(id) => {
                    let value = match program.scalar(*id) {
                        ScalarOp::Moment { f, vectors, scalars } => draw.average(f, vectors, scalars)?,
                        ScalarOp::Function { f, scalars } => f.eval(&[], &draw.parameters(scalars)),
                    };
                    if !value.is_finite() {
                        return Err(Error::NonFinite { quantity: "a scalar of the program" });
                    }
                    draw.scalars.push(value);
                }
                Line::Matrix(_) | Line::Dimension { .. } | Line::Output(_) => {}
            }
        }
        draw.program = program;
        Ok(draw)
    }

    /// The coordinates of a vector, on the device.
    ///
    /// # Panics
    /// For a vector of another program.
    pub fn vector_of(&self, x: VectorId) -> &Tensor {
        &self.vectors[x.index()]
    }

    fn parameters(&self, scalars: &[ScalarId]) -> Vec<f64> {
        scalars.iter().map(|s| self.scalars[s.index()]).collect()
    }

    fn eval(&self, f: &Expr, vectors: &[VectorId], scalars: &[ScalarId]) -> candle_core::Result<Value> {
        let args: Vec<&Tensor> = vectors.iter().map(|x| &self.vectors[x.index()]).collect();
        eval(f, &args, &self.parameters(scalars))
    }

    fn average(&self, f: &Expr, vectors: &[VectorId], scalars: &[ScalarId]) -> candle_core::Result<f64> {
        match self.eval(f, vectors, scalars)? {
            Value::One(x) => Ok(x),
            Value::Many(x) => x.mean_all()?.to_dtype(DType::F64)?.to_scalar(),
        }
    }
}

/// Averages over the coordinates: exact but for the rounding of the numbers' type.
impl Interpretation for DeviceProgram {
    type Error = Error;

    fn program(&self) -> &Program {
        &self.program
    }

    fn mean(&self, f: &Expr, vectors: &[VectorId], scalars: &[ScalarId]) -> Result<Estimate, Error> {
        Ok(Estimate::exact(self.average(f, vectors, scalars)?))
    }

    fn scalar(&self, s: ScalarId) -> Result<Estimate, Error> {
        Ok(Estimate::exact(self.scalars[s.index()]))
    }
}

/// One number for all coordinates, or one for each.
enum Value {
    One(f64),
    Many(Tensor),
}

impl Value {
    fn plus(self, other: Value) -> candle_core::Result<Value> {
        Ok(match (self, other) {
            (Value::One(a), Value::One(b)) => Value::One(a + b),
            (Value::One(a), Value::Many(b)) | (Value::Many(b), Value::One(a)) => Value::Many((b + a)?),
            (Value::Many(a), Value::Many(b)) => Value::Many((a + b)?),
        })
    }

    fn times(self, other: Value) -> candle_core::Result<Value> {
        Ok(match (self, other) {
            (Value::One(a), Value::One(b)) => Value::One(a * b),
            (Value::One(a), Value::Many(b)) | (Value::Many(b), Value::One(a)) => Value::Many((b * a)?),
            (Value::Many(a), Value::Many(b)) => Value::Many((a * b)?),
        })
    }
}

fn eval(f: &Expr, args: &[&Tensor], params: &[f64]) -> candle_core::Result<Value> {
    Ok(match f {
        Expr::Arg(i) => args.get(*i).map_or(Value::One(f64::NAN), |x| Value::Many((*x).clone())),
        Expr::Param(i) => Value::One(params.get(*i).copied().unwrap_or(f64::NAN)),
        Expr::Constant(c) => Value::One(*c),
        Expr::Sum(terms) => {
            terms.iter().try_fold(Value::One(0.0), |sum, term| sum.plus(eval(term, args, params)?))?
        }
        Expr::Product(factors) => {
            factors.iter().try_fold(Value::One(1.0), |product, x| product.times(eval(x, args, params)?))?
        }
        Expr::Power(x, p) => match eval(x, args, params)? {
            Value::One(x) => Value::One(x.powf(*p)),
            Value::Many(x) => Value::Many(power(&x, *p)?),
        },
        Expr::Apply(f, x) => match eval(x, args, params)? {
            Value::One(x) => Value::One(f.eval(x)),
            Value::Many(x) => Value::Many(apply(*f, &x)?),
        },
    })
}

/// xᵖ, by products where p is whole: devices take powers by logarithms, which negative numbers have not.
fn power(x: &Tensor, p: f64) -> candle_core::Result<Tensor> {
    if p.fract() != 0.0 {
        return if p == 0.5 { x.sqrt() } else { x.powf(p) };
    }
    let mut y = x.clone();
    for _ in 1..p.abs() as usize {
        y = (y * x)?;
    }
    if p < 0.0 { y.recip() } else { Ok(y) }
}

fn apply(f: Function, x: &Tensor) -> candle_core::Result<Tensor> {
    match f {
        Function::Relu => x.relu(),
        Function::Step => {
            let (above, not_below) = (x.gt(0.0)?.to_dtype(x.dtype())?, x.ge(0.0)?.to_dtype(x.dtype())?);
            (above + not_below)? * 0.5
        }
        Function::Erf => x.erf(),
        Function::Exp => x.exp(),
        Function::Ln => x.log(),
        Function::Tanh => x.tanh(),
        Function::Sigmoid => (x.neg()?.exp()? + 1.0)?.recip(),
        Function::Softplus => x.relu()? + (x.abs()?.neg()?.exp()? + 1.0)?.log()?,
        Function::Sin => x.sin(),
        Function::Cos => x.cos(),
    }
}
