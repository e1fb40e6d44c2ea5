//! Readers of tables and graphs, as they come out of the archives of UCI-90 and of the graph sets.

use std::fs;
use std::path::Path;

use ndarray::Array2;

use crate::Error;

/// A table with the splits that belong to it.
#[derive(Clone, Debug, PartialEq)]
pub struct TableSet {
    /// Its name.
    pub name: String,
    /// Standardized features, (n, d).
    pub x: Array2<f64>,
    /// Classes, n of them.
    pub labels: Vec<u8>,
    /// Number of classes.
    pub classes: usize,
    /// The split on which methods are tuned.
    pub tuning: Fold,
    /// Four folds.
    pub folds: Vec<Fold>,
}

/// Rows for training and for testing.
#[derive(Clone, Debug, PartialEq)]
pub struct Fold {
    /// For training.
    pub train: Vec<usize>,
    /// For testing.
    pub test: Vec<usize>,
}

/// Labeled graphs with a tag for each node.
#[derive(Clone, Debug, PartialEq)]
pub struct GraphSet {
    /// Of each graph, (from, to, 1), each edge both ways, and every node with itself.
    pub edges: Vec<Vec<(usize, usize, f64)>>,
    /// Tags of the nodes, numbered from 0.
    pub tags: Vec<Vec<usize>>,
    /// Nodes of each graph.
    pub lengths: Vec<usize>,
    /// Classes, numbered from 0 in the order in which they occur.
    pub labels: Vec<u8>,
}

fn text(path: &Path) -> Result<String, Error> {
    fs::read_to_string(path).map_err(|source| Error::File { path: path.to_owned(), source })
}

fn malformed(path: &Path, line: usize, expected: &'static str) -> Error {
    Error::Line { path: path.to_owned(), line: line + 1, expected }
}

/// The tables of a folder with at most `most` rows, by name.
pub(super) fn tables(folder: &Path, most: usize) -> Result<Vec<TableSet>, Error> {
    let entries = fs::read_dir(folder).map_err(|source| Error::File { path: folder.to_owned(), source })?;
    let mut names: Vec<String> = entries
        .filter_map(|entry| entry.ok().filter(|entry| entry.path().is_dir())?.file_name().into_string().ok())
        .collect();
    names.sort();
    let all = names.into_iter().map(|name| table(&folder.join(&name), name));
    all.filter(|set| set.as_ref().map_or(true, |set| set.labels.len() <= most)).collect()
}

fn table(folder: &Path, name: String) -> Result<TableSet, Error> {
    let path = folder.join(format!("{name}_R.dat"));
    let (mut numbers, mut labels, mut columns) = (Vec::new(), Vec::new(), 0);
    for (k, line) in text(&path)?.lines().enumerate().skip(1) {
        // A number of the row, the features, the class.
        let fields = line.split_whitespace().skip(1).map(str::parse::<f64>);
        let fields = fields.collect::<Result<Vec<f64>, _>>().ok().filter(|f| f.len() > 1);
        let Some((class, row)) = fields.as_deref().and_then(|fields| fields.split_last()) else {
            return Err(malformed(&path, k, "features and a class"));
        };
        if (columns != 0 && row.len() != columns) || !(0.0..256.0).contains(class) {
            return Err(malformed(&path, k, "as many features as in the first row, and a class below 256"));
        }
        columns = row.len();
        numbers.extend_from_slice(row);
        labels.push(*class as u8);
    }
    let rows = labels.len();
    let x = Array2::from_shape_vec((rows, columns), numbers)
        .map_err(|_| malformed(&path, 0, "a table of features"))?;
    let splits = |file: &str| -> Result<Vec<Fold>, Error> {
        let path = folder.join(file);
        let parse = |(k, line): (usize, &str)| {
            let parts = line.split_whitespace().map(|part| part.parse::<usize>().ok().filter(|i| *i < rows));
            parts.collect::<Option<Vec<usize>>>().ok_or_else(|| malformed(&path, k, "numbers of rows"))
        };
        let content = text(&path)?;
        let lines = content.lines().filter(|line| !line.trim().is_empty());
        let all = lines.enumerate().map(parse).collect::<Result<Vec<_>, _>>()?;
        Ok(all.chunks_exact(2).map(|pair| Fold { train: pair[0].clone(), test: pair[1].clone() }).collect())
    };
    let tuning = splits("conxuntos.dat")?.into_iter().next();
    let tuning = tuning.ok_or_else(|| malformed(&folder.join("conxuntos.dat"), 1, "two lines of rows"))?;
    let classes = usize::from(labels.iter().copied().max().unwrap_or(0)) + 1;
    Ok(TableSet { name, x, labels, classes, tuning, folds: splits("conxuntos_kfold.dat")? })
}

/// A file of graphs: their number; of each its nodes and label; of each node a tag, its degree and its neighbors.
pub(super) fn graphs(path: &Path) -> Result<GraphSet, Error> {
    let content = text(path)?;
    let mut lines = content.lines().enumerate().map(|(k, line)| {
        let numbers = line.split_whitespace().map(str::parse::<i64>).collect::<Result<Vec<i64>, _>>();
        numbers.map_err(|_| malformed(path, k, "whole numbers")).map(|numbers| (k, numbers))
    });
    let mut next = |expected: &'static str| lines.next().unwrap_or_else(|| Err(malformed(path, 0, expected)));
    let (_, head) = next("a number of graphs")?;
    let count = head.first().copied().unwrap_or(0);
    let mut set = GraphSet { edges: vec![], tags: vec![], lengths: vec![], labels: vec![] };
    let (mut classes, mut known): (Vec<i64>, Vec<i64>) = (vec![], vec![]);
    // Of a value, its place among those that occurred before.
    let place = |seen: &mut Vec<i64>, value: i64| {
        seen.iter().position(|other| *other == value).unwrap_or_else(|| {
            seen.push(value);
            seen.len() - 1
        })
    };
    for _ in 0..count {
        let (k, head) = next("nodes and label of a graph")?;
        let [nodes, label, ..] = head[..] else { return Err(malformed(path, k, "nodes and a label")) };
        let (mut edges, mut tags) = (Vec::new(), Vec::new());
        for node in 0..nodes.max(0) as usize {
            let (k, line) = next("tag, degree and neighbors of a node")?;
            let [tag, _, ref neighbors @ ..] = line[..] else {
                return Err(malformed(path, k, "tag and degree"));
            };
            tags.push(place(&mut known, tag));
            edges.push((node, node, 1.0));
            for &to in neighbors {
                if !(0..nodes).contains(&to) {
                    return Err(malformed(path, k, "neighbors below the number of nodes"));
                }
                edges.push((node, to as usize, 1.0));
            }
        }
        set.lengths.push(tags.len());
        set.edges.push(edges);
        set.tags.push(tags);
        set.labels.push(place(&mut classes, label) as u8);
    }
    Ok(set)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scratch(name: &str) -> std::path::PathBuf {
        let dir = std::env::temp_dir().join(format!("ntk-bench-sets-{name}-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        dir
    }

    #[test]
    fn graphs_are_read_and_refused() {
        let dir = scratch("graphs");
        let path = dir.join("G.txt");
        fs::write(&path, "2\n2 7\n5 1 1\n6 1 0\n1 3\n6 0\n").unwrap();
        let set = graphs(&path).unwrap();
        assert_eq!((set.lengths, set.labels), (vec![2, 1], vec![0, 1]));
        assert_eq!(set.tags, [vec![0, 1], vec![1]]);
        assert_eq!(set.edges[0], [(0, 0, 1.0), (0, 1, 1.0), (1, 1, 1.0), (1, 0, 1.0)]);
        for bad in ["2\n2 7\n5 1 1\n", "1\n1 0\n0 1 4\n", "one\n"] {
            fs::write(&path, bad).unwrap();
            assert!(matches!(graphs(&path), Err(Error::Line { .. })), "{bad:?}");
        }
        fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn tables_are_read_and_refused() {
        let dir = scratch("tables");
        let set = dir.join("s");
        fs::create_dir_all(&set).unwrap();
        fs::write(set.join("s_R.dat"), "\tf1\tf2\tclase\n1\t0.5\t1\t0\n2\t-1\t2\t1\n").unwrap();
        fs::write(set.join("conxuntos.dat"), "0\n1\n").unwrap();
        fs::write(set.join("conxuntos_kfold.dat"), "0\n1\n1\n0\n").unwrap();
        let all = tables(&dir, 10).unwrap();
        assert_eq!((all.len(), all[0].classes, all[0].folds.len()), (1, 2, 2));
        assert_eq!((all[0].x[[1, 0]], all[0].labels.clone()), (-1.0, vec![0, 1]));
        assert!(tables(&dir, 1).unwrap().is_empty());
        fs::write(set.join("conxuntos.dat"), "0\n2\n").unwrap();
        assert!(matches!(tables(&dir, 10), Err(Error::Line { line: 2, .. })));
        fs::remove_dir_all(dir).unwrap();
    }
}
