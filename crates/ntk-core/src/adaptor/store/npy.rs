//! Tiles as `.npy` files of version 1.0, little-endian doubles in row-major order: what every numerical tool reads.
//!
//! Only files of a known shape are read back, whose header is therefore known to the byte.

use ndarray::Array3;

/// Magic, version, length of the text, text: filled up with spaces to a multiple of 64 bytes.
fn header(shape: [usize; 3]) -> Vec<u8> {
    let [kernels, rows, columns] = shape;
    let mut text =
        format!("{{'descr': '<f8', 'fortran_order': False, 'shape': ({kernels}, {rows}, {columns}), }}");
    while !(10 + text.len() + 1).is_multiple_of(64) {
        text.push(' ');
    }
    text.push('\n');
    // Three numbers of 64 bits take at most 128 bytes, so the length fits 16 bits.
    let length = (text.len() as u16).to_le_bytes();
    [b"\x93NUMPY\x01\x00".as_slice(), &length, text.as_bytes()].concat()
}

pub(super) fn encode(values: &Array3<f64>) -> Vec<u8> {
    let mut bytes = header(values.dim().into());
    bytes.reserve_exact(8 * values.len());
    values.iter().for_each(|value| bytes.extend(value.to_le_bytes()));
    bytes
}

/// The values of a file that [`encode`] wrote for this shape, if it is one.
pub(super) fn decode(bytes: &[u8], shape: [usize; 3]) -> Option<Array3<f64>> {
    let (numbers, rest) = bytes.strip_prefix(&header(shape)[..])?.as_chunks::<8>();
    let values = numbers.iter().map(|number| f64::from_le_bytes(*number)).collect();
    Array3::from_shape_vec(shape, values).ok().filter(|_| rest.is_empty())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // Tests may.
mod tests {
    use super::*;

    #[test]
    fn files_are_those_of_the_format() {
        let values = Array3::from_shape_fn((2, 1, 3), |(k, _, j)| (3 * k + j) as f64 - 0.5);
        let bytes = encode(&values);
        assert_eq!(&bytes[..10], b"\x93NUMPY\x01\x00\x76\x00");
        let text = "{'descr': '<f8', 'fortran_order': False, 'shape': (2, 1, 3), }";
        assert_eq!(std::str::from_utf8(&bytes[10..128]).unwrap().trim_end_matches([' ', '\n']), text);
        assert_eq!((bytes[127], bytes.len()), (b'\n', 128 + 6 * 8));
        assert_eq!(bytes[128..136], (-0.5f64).to_le_bytes());
        assert_eq!(decode(&bytes, [2, 1, 3]).unwrap(), values);
    }

    #[test]
    fn what_is_not_the_file_is_none() {
        let bytes = encode(&Array3::zeros((1, 2, 2)));
        for cut in 0..bytes.len() {
            assert_eq!(decode(&bytes[..cut], [1, 2, 2]), None);
        }
        assert_eq!(decode(&[&bytes[..], &[0]].concat(), [1, 2, 2]), None);
        assert_eq!(decode(&[&bytes[..], &[0; 8]].concat(), [1, 2, 2]), None);
        assert_eq!(decode(&bytes, [2, 1, 2]), None);
    }

    #[test]
    fn order_in_memory_does_not_matter() {
        let values = Array3::from_shape_fn((1, 2, 3), |(_, i, j)| (3 * i + j) as f64);
        let mut turned = values.clone();
        turned.swap_axes(1, 2);
        assert_eq!(decode(&encode(&turned), [1, 3, 2]).unwrap(), turned);
    }
}
