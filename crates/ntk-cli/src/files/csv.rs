//! Tables of numbers as text: one sample a line, separated by commas or blanks.

use std::io::{self, Write};

use ndarray::{Array2, ArrayD, Axis};

use super::{Malformed, Named};

/// Reads a table, with or without a line of names; empty lines and lines that begin with # are left out.
pub(super) fn read(text: &str) -> Result<ArrayD<f64>, Malformed> {
    let lines = text.trim_start_matches('\u{feff}').lines().map(str::trim);
    let mut lines =
        lines.enumerate().filter(|(_, line)| !line.is_empty() && !line.starts_with('#')).peekable();
    let is_names = |line: &str| cells(line).all(|cell| cell.parse::<f64>().is_err());
    lines.next_if(|(_, line)| is_names(line));
    let (mut values, mut rows, mut columns) = (Vec::new(), 0, 0);
    for (at, line) in lines {
        let before = values.len();
        for cell in cells(line) {
            let value = cell.parse::<f64>();
            values.push(value.map_err(|_| Malformed::Cell { line: at + 1, cell: cell.to_owned() })?);
        }
        let found = values.len() - before;
        if rows > 0 && found != columns {
            return Err(Malformed::Ragged { line: at + 1, expected: columns, found });
        }
        (rows, columns) = (rows + 1, found);
    }
    if rows == 0 {
        return Err(Malformed::NoNumbers);
    }
    let table = Array2::from_shape_vec((rows, columns), values).map_err(|_| Malformed::NoNumbers)?;
    Ok(table.into_dyn())
}

fn cells(line: &str) -> Box<dyn Iterator<Item = &str> + '_> {
    if line.contains(',') {
        Box::new(line.split(',').map(|cell| cell.trim().trim_matches('"')))
    } else {
        Box::new(line.split_whitespace())
    }
}

/// Writes one matrix as it is, or several arrays side by side under their names.
pub(super) fn write(out: &mut dyn Write, arrays: &[Named<'_>]) -> io::Result<()> {
    if let [_, _, ..] = arrays {
        let names = arrays.iter().flat_map(|Named { name, values }| {
            let columns = columns(values.shape());
            (0..columns).map(move |k| if columns == 1 { name.clone() } else { format!("{name}_{k}") })
        });
        writeln!(out, "{}", names.collect::<Vec<_>>().join(","))?;
    }
    let rows = arrays.first().map_or(0, |array| array.values.len_of(Axis(0)));
    for row in 0..rows {
        let mut separator = "";
        for value in arrays.iter().flat_map(|array| array.values.index_axis(Axis(0), row).into_iter()) {
            // As many digits as it takes to read the same number back.
            write!(out, "{separator}{value:?}")?;
            separator = ",";
        }
        writeln!(out)?;
    }
    Ok(())
}

fn columns(shape: &[usize]) -> usize {
    shape[1..].iter().product()
}

/// Whether arrays fit side by side in one table.
pub(super) fn is_table<'a>(mut shapes: impl Iterator<Item = &'a [usize]>) -> bool {
    let Some(first) = shapes.next() else { return false };
    matches!(first.len(), 1 | 2) && shapes.all(|shape| matches!(shape.len(), 1 | 2) && shape[0] == first[0])
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::array;

    #[test]
    fn tables_by_hand() {
        let table = array![[1.0, -2.5], [3e-2, 4.0]].into_dyn();
        for text in [
            "1,-2.5\n3e-2,4\n",
            "a,b\n# note\n1 , -2.5\r\n\n3e-2,4",
            "1 -2.5\n0.03\t4",
            "\u{feff}\"a\",\"b\"\n\"1\",-2.5\n.03,4",
        ] {
            assert_eq!(read(text).unwrap(), table, "{text:?}");
        }
    }

    #[test]
    fn wrong_lines_are_named() {
        let message = |text| read(text).unwrap_err().to_string();
        assert!(message("1,2\n3\n").contains("line 2"));
        assert!(message("1,2\n3,x\n").contains("line 2"));
        assert!(message("1,2\n3,\n").contains("line 2"));
        assert!(message("a,b\n").contains("no numbers"));
    }

    #[test]
    fn what_is_written_is_read() {
        let (a, b) = (array![[0.1, 1e300], [-2.0, 1.0 / 3.0]].into_dyn(), array![5.0, 6.0].into_dyn());
        let mut text = Vec::new();
        let named = |name: &str, values| Named { name: name.to_owned(), values };
        write(&mut text, &[named("mean", a.view()), named("variance", b.view())]).unwrap();
        let text = String::from_utf8(text).unwrap();
        assert!(text.starts_with("mean_0,mean_1,variance\n0.1,1e300,5.0\n"), "{text}");
        assert_eq!(read(&text).unwrap(), array![[0.1, 1e300, 5.0], [-2.0, 1.0 / 3.0, 6.0]].into_dyn());
    }
}
