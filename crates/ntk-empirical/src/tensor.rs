//! Between candle tensors and arrays, and the few tensor operations that candle does not have or does slowly.

use candle_core::{CpuStorage, DType, Device, InplaceOp3, Layout, Result, Storage, Tensor, WithDType};
use ndarray::{Array2, ArrayView2, ArrayViewMut2, ShapeBuilder, linalg::general_mat_mul};

/// A matrix on a device.
pub(crate) fn matrix(values: ArrayView2<'_, f64>, dtype: DType, device: &Device) -> Result<Tensor> {
    let (rows, columns) = values.dim();
    Tensor::from_iter(values.iter().copied(), &Device::Cpu)?
        .reshape((rows, columns))?
        .to_dtype(dtype)?
        .to_device(device)
}

/// A matrix as an array of f64.
pub(crate) fn array(tensor: &Tensor) -> Result<Array2<f64>> {
    let shape = tensor.dims2()?;
    let values = tensor.to_dtype(DType::F64)?.flatten_all()?.to_vec1()?;
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

/// d Wᵀ. d: (m, out), w: (in, out) → (m, in).
pub(crate) fn times_transpose(d: &Tensor, w: &Tensor) -> Result<Tensor> {
    // For few rows, transposing W while packing it would cost more than the product; transposing the result does not.
    if d.device().is_cpu() && 2 * d.dim(0)? <= w.dim(1)? {
        w.matmul(&d.t()?)?.t()?.contiguous()
    } else {
        d.matmul(&w.t()?)
    }
}

/// target ← β target + α xᵀ d, in place on the CPU. x: (m, in), d: (m, out), target: (in, out), owned by a variable.
pub(crate) fn accumulate(
    target: &candle_core::Var,
    beta: f64,
    alpha: f64,
    x: &Tensor,
    d: &Tensor,
) -> Result<()> {
    if target.device().is_cpu() {
        return target.as_detached_tensor().inplace_op3(x, d, &Accumulate { beta, alpha });
    }
    let step = (x.t()?.matmul(d)? * alpha)?;
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
            (CpuStorage::F32(target), CpuStorage::F32(x), CpuStorage::F32(d)) => general_mat_mul(
                self.alpha as f32,
                &view(x, x_layout)?.t(),
                &view(d, d_layout)?,
                self.beta as f32,
                &mut view_mut(target, target_layout)?,
            ),
            (CpuStorage::F64(target), CpuStorage::F64(x), CpuStorage::F64(d)) => general_mat_mul(
                self.alpha,
                &view(x, x_layout)?.t(),
                &view(d, d_layout)?,
                self.beta,
                &mut view_mut(target, target_layout)?,
            ),
            _ => candle_core::bail!("accumulate: f32 or f64 throughout"),
        }
        Ok(())
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
