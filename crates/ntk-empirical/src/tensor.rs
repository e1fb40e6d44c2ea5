//! Between candle tensors and arrays, and the few tensor operations that candle does not have or does slowly.

use candle_core::{CpuStorage, DType, Device, InplaceOp3, Layout, Result, Shape, Storage, Tensor, WithDType};
use ndarray::{Array2, ArrayView2, ArrayViewMut2, ShapeBuilder};
use ntk_linalg::{Scalar, Threads};

/// A matrix on a device.
pub(crate) fn matrix(values: ArrayView2<'_, f64>, dtype: DType, device: &Device) -> Result<Tensor> {
    let (rows, columns) = values.dim();
    Tensor::from_iter(values.iter().copied(), &Device::Cpu)?
        .reshape((rows, columns))?
        .to_dtype(dtype)?
        .to_device(device)
}

/// Numbers of a given shape on a device.
pub(crate) fn from_vec(
    values: Vec<f64>,
    shape: impl Into<Shape>,
    dtype: DType,
    device: &Device,
) -> Result<Tensor> {
    Tensor::from_vec(values, shape.into(), &Device::Cpu)?.to_dtype(dtype)?.to_device(device)
}

/// The same numbers as f64, on the CPU: Metal has no f64.
pub(crate) fn to_f64(tensor: &Tensor) -> Result<Tensor> {
    tensor.to_device(&Device::Cpu)?.to_dtype(DType::F64)
}

/// A matrix as an array of f64.
pub(crate) fn array(tensor: &Tensor) -> Result<Array2<f64>> {
    let shape = tensor.dims2()?;
    let values = to_f64(tensor)?.flatten_all()?.to_vec1()?;
    Array2::from_shape_vec(shape, values).map_err(candle_core::Error::wrap)
}

/// Calls `f` on the elements of a tensor of the CPU, in row-major order.
pub(crate) fn with_slice<T: WithDType, R>(tensor: &Tensor, f: impl FnOnce(&[T]) -> R) -> Result<R> {
    let tensor = tensor.contiguous()?;
    let (storage, layout) = tensor.storage_and_layout();
    let Storage::Cpu(storage) = &*storage else { candle_core::bail!("the elements are not on the CPU") };
    let start = layout.start_offset();
    Ok(f(&T::cpu_storage_as_slice(storage)?[start..start + layout.shape().elem_count()]))
}

/// d ⊙ v with v shared by the middle axis. d: (n or 1, o, w), v: (n, w) → (n, o, w).
pub(crate) fn scale_rows(d: &Tensor, v: &Tensor) -> Result<Tensor> {
    let (samples, outputs, width) = d.dims3()?;
    let n = v.dim(0)?;
    if outputs == 1 && samples == n {
        return d * v.unsqueeze(1)?;
    }
    if !d.device().is_cpu() {
        return d.broadcast_mul(&v.unsqueeze(1)?);
    }
    match d.dtype() {
        DType::F32 => scale_slices::<f32>(d, v, n, outputs, width),
        _ => scale_slices::<f64>(d, v, n, outputs, width),
    }
}

// Candle's broadcasting walks strides element by element; this walks rows.
fn scale_slices<T: WithDType>(
    d: &Tensor,
    v: &Tensor,
    n: usize,
    outputs: usize,
    width: usize,
) -> Result<Tensor> {
    let shared = d.dim(0)? == 1;
    let product = with_slice::<T, _>(d, |d| {
        with_slice::<T, _>(v, |v| {
            let mut product = Vec::with_capacity(n * outputs * width);
            for (i, v) in v.chunks_exact(width).enumerate() {
                let start = if shared { 0 } else { i * outputs * width };
                for row in d[start..start + outputs * width].chunks_exact(width) {
                    product.extend(row.iter().zip(v).map(|(&d, &v)| d * v));
                }
            }
            product
        })
    })??;
    Tensor::from_vec(product, (n, outputs, width), d.device())
}

/// Below this many multiplications a product runs on the caller's thread: splitting it would cost more than it gains,
/// and many networks are trained side by side.
pub(crate) const SMALL_PRODUCT: usize = 1 << 23;

/// C ← α A B + β C on the CPU, in parallel if there is much to multiply.
pub(crate) fn gemm<T: Scalar>(
    alpha: T,
    a: ArrayView2<'_, T>,
    b: ArrayView2<'_, T>,
    beta: T,
    c: ArrayViewMut2<'_, T>,
) -> Result<()> {
    let small = a.len() * b.ncols() <= SMALL_PRODUCT;
    let threads = if small { Threads::One } else { Threads::All };
    ntk_linalg::gemm(alpha, a, b, beta, c, threads).map_err(candle_core::Error::wrap)
}

/// s a b. a: (m, k), b: (k, n) → (m, n).
pub(crate) fn product(s: f64, a: &Tensor, b: &Tensor) -> Result<Tensor> {
    match (a.device().is_cpu(), a.dtype()) {
        (false, _) => a.matmul(b)? * s,
        (true, DType::F32) => product_here(s as f32, a, b),
        (true, _) => product_here(s, a, b),
    }
}

fn product_here<T: WithDType + Scalar>(s: T, a: &Tensor, b: &Tensor) -> Result<Tensor> {
    let ((a_storage, a_layout), (b_storage, b_layout)) = (a.storage_and_layout(), b.storage_and_layout());
    let (Storage::Cpu(a_storage), Storage::Cpu(b_storage)) = (&*a_storage, &*b_storage) else {
        candle_core::bail!("the elements are not on the CPU")
    };
    let (a, b) = (T::cpu_storage_as_slice(a_storage)?, T::cpu_storage_as_slice(b_storage)?);
    let (a, b) = (view(a, a_layout)?, view(b, b_layout)?);
    let mut values = Array2::zeros((a.nrows(), b.ncols()));
    gemm(s, a, b, T::zero(), values.view_mut())?;
    let shape = values.dim();
    Tensor::from_vec(values.into_raw_vec_and_offset().0, shape, &Device::Cpu)
}

/// target ← β target + α xᵀ d, in place on the CPU. x: (m, in), d: (m, out), target: (…, out) of in · out numbers, owned
/// by a variable.
pub(crate) fn accumulate(
    target: &candle_core::Var,
    beta: f64,
    alpha: f64,
    x: &Tensor,
    d: &Tensor,
) -> Result<()> {
    if target.device().is_cpu() {
        // The reshaped tensor is a view of the variable's memory.
        let matrix = target.as_detached_tensor().reshape(((), d.dim(1)?))?;
        return matrix.inplace_op3(x, d, &Accumulate { beta, alpha });
    }
    let step = (x.t()?.matmul(d)?.reshape(target.shape())? * alpha)?;
    if beta == 0.0 { target.set(&step) } else { target.set(&((target.as_detached_tensor() * beta)? + step)?) }
}

struct Accumulate {
    beta: f64,
    alpha: f64,
}

impl InplaceOp3 for Accumulate {
    fn name(&self) -> &'static str {
        "accumulate"
    }

    fn cpu_fwd(
        &self,
        target: &mut CpuStorage,
        target_layout: &Layout,
        x: &CpuStorage,
        x_layout: &Layout,
        d: &CpuStorage,
        d_layout: &Layout,
    ) -> Result<()> {
        match (target, x, d) {
            (CpuStorage::F32(target), CpuStorage::F32(x), CpuStorage::F32(d)) => gemm(
                self.alpha as f32,
                view(x, x_layout)?.reversed_axes(),
                view(d, d_layout)?,
                self.beta as f32,
                view_mut(target, target_layout)?,
            ),
            (CpuStorage::F64(target), CpuStorage::F64(x), CpuStorage::F64(d)) => gemm(
                self.alpha,
                view(x, x_layout)?.reversed_axes(),
                view(d, d_layout)?,
                self.beta,
                view_mut(target, target_layout)?,
            ),
            _ => candle_core::bail!("accumulate: f32 or f64 throughout"),
        }
    }
}

fn strided(layout: &Layout) -> Result<ndarray::StrideShape<ndarray::Ix2>> {
    let shape = layout.shape().dims2()?;
    let stride = layout.stride();
    Ok(shape.strides((stride[0], stride[1])))
}

fn view<'a, T>(values: &'a [T], layout: &Layout) -> Result<ArrayView2<'a, T>> {
    ArrayView2::from_shape(strided(layout)?, &values[layout.start_offset()..])
        .map_err(candle_core::Error::wrap)
}

fn view_mut<'a, T>(values: &'a mut [T], layout: &Layout) -> Result<ArrayViewMut2<'a, T>> {
    ArrayViewMut2::from_shape(strided(layout)?, &mut values[layout.start_offset()..])
        .map_err(candle_core::Error::wrap)
}
