//! Arrays as numpy writes them: numbers of any usual kind in, doubles and text out.
//!
//! A header is believed only as far as there are bytes behind it, so that a file cannot make the program allocate more
//! than it holds.

use std::io::{self, Read, Write};

use ndarray::{ArrayD, ArrayViewD, IxDyn, ShapeBuilder};

use super::Malformed;

const MAGIC: &[u8] = b"\x93NUMPY";
/// No header of a plain array is longer.
const LONGEST_HEADER: usize = 1 << 16;
/// Numbers that are decoded or encoded at a time.
const CHUNK: usize = 8192;

/// What the header says of the numbers.
#[derive(Debug, PartialEq)]
struct Header {
    kind: Kind,
    /// Bytes of a number.
    size: usize,
    big_endian: bool,
    fortran: bool,
    shape: Vec<usize>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Float,
    Signed,
    Unsigned,
}

/// Reads an array, in standard layout, from a source of at most `available` bytes.
pub(super) fn read(mut source: impl Read, available: u64) -> Result<ArrayD<f64>, Malformed> {
    let (header, length) = header(&mut source)?;
    let count = header.shape.iter().try_fold(1usize, |count, &side| count.checked_mul(side));
    let expected = count.and_then(|count| count.checked_mul(header.size));
    let found = available.saturating_sub(length);
    let shape = || header.shape.clone();
    let (Some(count), Some(expected)) = (count, expected.map(|bytes| bytes as u64)) else {
        return Err(Malformed::TooFewBytes { shape: shape(), found });
    };
    if found < expected {
        return Err(Malformed::TooFewBytes { shape: shape(), found });
    }
    if found > expected {
        return Err(Malformed::TooManyBytes { shape: shape(), surplus: found - expected });
    }
    let mut values = Vec::new();
    values.try_reserve_exact(count).map_err(|_| Malformed::Memory { shape: shape() })?;
    let mut bytes = vec![0; header.size * CHUNK.min(count)];
    while values.len() < count {
        let some = header.size * CHUNK.min(count - values.len());
        source.read_exact(&mut bytes[..some])?;
        for number in bytes[..some].chunks_exact(header.size) {
            values.push(header.number(number)?);
        }
    }
    let array = ArrayD::from_shape_vec(IxDyn(&header.shape).set_f(header.fortran), values);
    let array = array.map_err(|_| Malformed::TooFewBytes { shape: shape(), found })?;
    Ok(if header.fortran { array.as_standard_layout().into_owned() } else { array })
}

/// The header, and how many bytes it took.
fn header(source: &mut impl Read) -> Result<(Header, u64), Malformed> {
    let mut start = [0; 8];
    source.read_exact(&mut start).map_err(|_| Malformed::NotNpy)?;
    if !start.starts_with(MAGIC) {
        return Err(Malformed::NotNpy);
    }
    let width = match start[6] {
        1 => 2,
        2 | 3 => 4,
        _ => return Err(Malformed::Header { reason: "its version is none of 1, 2 and 3" }),
    };
    let cut = |_| Malformed::Header { reason: "it is cut off" };
    let mut length = [0; 4];
    source.read_exact(&mut length[..width]).map_err(cut)?;
    let length = u32::from_le_bytes(length) as usize;
    if length > LONGEST_HEADER {
        return Err(Malformed::Header { reason: "it is too long for that of an array of numbers" });
    }
    let mut text = vec![0; length];
    source.read_exact(&mut text).map_err(cut)?;
    let text = std::str::from_utf8(&text).map_err(|_| Malformed::Header { reason: "it is not text" })?;
    Ok((Header::parse(text)?, (8 + width + length) as u64))
}

impl Header {
    /// Reads `{'descr': '<f8', 'fortran_order': False, 'shape': (3, 4), }`.
    fn parse(text: &str) -> Result<Header, Malformed> {
        let after = |key: &str| {
            let (_, rest) = text.split_once(&format!("'{key}'"))?;
            rest.trim_start().strip_prefix(':').map(str::trim_start)
        };
        let missing = |reason| Malformed::Header { reason };
        let descr = after("descr").ok_or(missing("it has no 'descr'"))?;
        let quoted = descr.strip_prefix('\'').and_then(|rest| rest.split_once('\''));
        let Some((descr, _)) = quoted else {
            return Err(Malformed::Kind { descr: "records of several fields".to_owned() });
        };
        let order = after("fortran_order").ok_or(missing("it has no 'fortran_order'"))?;
        let fortran = match (order.starts_with("True"), order.starts_with("False")) {
            (true, _) => true,
            (_, true) => false,
            _ => return Err(missing("'fortran_order' is neither True nor False")),
        };
        let shape = after("shape").and_then(|rest| rest.strip_prefix('(')?.split_once(')'));
        let (shape, _) = shape.ok_or(missing("it has no 'shape'"))?;
        let sides = shape.split(',').map(str::trim).filter(|side| !side.is_empty());
        let shape = sides.map(str::parse).collect::<Result<Vec<usize>, _>>();
        let shape = shape.map_err(|_| missing("its 'shape' is not made of sizes"))?;
        let (kind, size, big_endian) =
            kind(descr).ok_or_else(|| Malformed::Kind { descr: format!("dtype {descr}") })?;
        Ok(Header { kind, size, big_endian, fortran, shape })
    }

    fn number(&self, bytes: &[u8]) -> Result<f64, Malformed> {
        let mut word = [0u8; 8];
        word[..self.size].copy_from_slice(bytes);
        if self.big_endian {
            word[..self.size].reverse();
        }
        let unused = 64 - 8 * self.size as u32;
        let (value, exact) = match self.kind {
            Kind::Float if self.size == 4 => {
                (f64::from(f32::from_le_bytes([word[0], word[1], word[2], word[3]])), true)
            }
            Kind::Float => (f64::from_le_bytes(word), true),
            // Up and down again repeats the sign.
            Kind::Signed => {
                let integer = (i64::from_le_bytes(word) << unused) >> unused;
                (integer as f64, integer.unsigned_abs() <= 1 << 53)
            }
            Kind::Unsigned => {
                let integer = u64::from_le_bytes(word);
                (integer as f64, integer <= 1 << 53)
            }
        };
        if exact { Ok(value) } else { Err(Malformed::LargeInteger { value }) }
    }
}

fn kind(descr: &str) -> Option<(Kind, usize, bool)> {
    let (order, code) = descr.split_at_checked(1)?;
    let big_endian = match order {
        "<" | "|" => false,
        "=" => cfg!(target_endian = "big"),
        ">" => true,
        _ => return None,
    };
    let (kind, size) = match code {
        "f4" => (Kind::Float, 4),
        "f8" => (Kind::Float, 8),
        "i1" => (Kind::Signed, 1),
        "i2" => (Kind::Signed, 2),
        "i4" => (Kind::Signed, 4),
        "i8" => (Kind::Signed, 8),
        "u1" | "b1" => (Kind::Unsigned, 1),
        "u2" => (Kind::Unsigned, 2),
        "u4" => (Kind::Unsigned, 4),
        "u8" => (Kind::Unsigned, 8),
        _ => return None,
    };
    Some((kind, size, big_endian))
}

fn write_header(out: &mut dyn Write, descr: &str, shape: &[usize]) -> io::Result<()> {
    let sides: String = shape.iter().map(|side| format!("{side}, ")).collect();
    let sides = if shape.len() == 1 { sides.trim_end() } else { sides.trim_end_matches(", ") };
    let mut text = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': ({sides}), }}");
    // Numbers begin at a multiple of 64 bytes.
    while !(MAGIC.len() + 4 + text.len() + 1).is_multiple_of(64) {
        text.push(' ');
    }
    text.push('\n');
    let length = u16::try_from(text.len()).map_err(|_| io::Error::other("an array of too many axes"))?;
    out.write_all(&[MAGIC, b"\x01\x00", &length.to_le_bytes(), text.as_bytes()].concat())
}

/// Writes doubles, little-endian and in row-major order.
pub(super) fn write(out: &mut dyn Write, array: ArrayViewD<'_, f64>) -> io::Result<()> {
    write_header(out, "<f8", array.shape())?;
    let mut bytes = Vec::with_capacity(8 * CHUNK);
    for value in &array {
        bytes.extend(value.to_le_bytes());
        if bytes.len() == 8 * CHUNK {
            out.write_all(&bytes)?;
            bytes.clear();
        }
    }
    out.write_all(&bytes)
}

/// Writes text as numpy's array of no axes: `str(array)` gives it back.
pub(super) fn write_text(out: &mut dyn Write, text: &str) -> io::Result<()> {
    write_header(out, &format!("<U{}", text.chars().count()), &[])?;
    out.write_all(&text.chars().flat_map(|c| u32::from(c).to_le_bytes()).collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::{Dimension, array};

    fn file(descr: &str, fortran: &str, shape: &str, bytes: &[u8]) -> Vec<u8> {
        let text = format!("{{'descr': '{descr}', 'fortran_order': {fortran}, 'shape': {shape}, }}\n");
        [MAGIC, b"\x01\x00", &(text.len() as u16).to_le_bytes(), text.as_bytes(), bytes].concat()
    }

    fn parse(bytes: &[u8]) -> Result<ArrayD<f64>, Malformed> {
        read(bytes, bytes.len() as u64)
    }

    #[test]
    fn every_kind_of_number_is_read() {
        let two = |descr, bytes: &[u8]| parse(&file(descr, "False", "(2,)", bytes)).unwrap();
        let bytes = |a: [u8; 2]| two("|u1", &a);
        assert_eq!(bytes([1, 255]), array![1.0, 255.0].into_dyn());
        assert_eq!(two("|i1", &[1, 255]), array![1.0, -1.0].into_dyn());
        assert_eq!(two("|b1", &[0, 1]), array![0.0, 1.0].into_dyn());
        assert_eq!(two("<i2", &[1, 0, 0xfe, 0xff]), array![1.0, -2.0].into_dyn());
        assert_eq!(two(">i2", &[0, 1, 0xff, 0xfe]), array![1.0, -2.0].into_dyn());
        assert_eq!(two("<f4", &[1.5f32.to_le_bytes(), (-0.25f32).to_le_bytes()].concat())[[1]], -0.25);
        assert_eq!(two(">f8", &[1.5f64.to_be_bytes(), 7f64.to_be_bytes()].concat())[[1]], 7.0);
        assert_eq!(two("<i8", &[(-3i64).to_le_bytes(), 4i64.to_le_bytes()].concat())[[0]], -3.0);
        assert_eq!(two("<u4", &[u32::MAX.to_le_bytes(), [0; 4]].concat())[[0]], f64::from(u32::MAX));
    }

    #[test]
    fn fortran_order_is_turned_into_rows() {
        let array = parse(&file("|u1", "True", "(2, 3)", &[1, 4, 2, 5, 3, 6])).unwrap();
        assert_eq!(array, array![[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]].into_dyn());
        assert!(array.is_standard_layout());
    }

    #[test]
    fn what_is_written_is_read() {
        for shape in [&[][..], &[3], &[2, 0], &[2, 3], &[1, 2, 3, 4]] {
            let array = ArrayD::from_shape_fn(shape, |at| at.as_array_view().sum() as f64 - 0.5);
            let mut bytes = Vec::new();
            write(&mut bytes, array.view()).unwrap();
            assert_eq!(parse(&bytes).unwrap(), array);
            assert_eq!((bytes.len() - 8 * array.len()) % 64, 0);
        }
    }

    #[test]
    fn a_header_promises_no_more_than_there_is() {
        let message = |bytes: &[u8]| parse(bytes).unwrap_err().to_string();
        for shape in ["(100000000000, 100000)", "(18446744073709551615, 2)", "(3,)"] {
            let text = message(&file("<f8", "False", shape, &[0; 16]));
            assert!(text.contains("16 bytes"), "{text}");
        }
        assert!(message(&file("<f8", "False", "(1,)", &[0; 16])).contains("8 bytes more"));
        let whole = file("<f8", "False", "(2,)", &[0; 16]);
        for cut in 0..whole.len() {
            parse(&whole[..cut]).unwrap_err();
        }
    }

    #[test]
    fn other_kinds_are_named() {
        let message = |descr| parse(&file(descr, "False", "(1,)", &[0; 16])).unwrap_err().to_string();
        for descr in ["<c16", "<U4", "|O", "<f2", "<M8[ns]"] {
            assert!(message(descr).contains(descr), "{}", message(descr));
        }
        let large = file("<u8", "False", "(1,)", &u64::MAX.to_le_bytes());
        assert!(parse(&large).unwrap_err().to_string().contains("2^53"));
    }
}
