//! Linear maps of positions put together: what a sum of branches without weights of their own is, as x + Ax of a graph.

use ntk_core::{AxisMap, Grid, Padding};

use super::op::{Kind, Op};

/// A linear map of positions, the same for all channels; some samples bring a part of it.
#[derive(Clone)]
pub(crate) enum Linear {
    Map(AxisMap),
    /// Sums along the edges of the graph of a sample, whose nodes are an axis of the grid.
    Edges {
        grid: Grid,
        axis: usize,
    },
    /// One after another; the identity if empty.
    Serial(Vec<Linear>),
    Sum(Vec<Linear>),
}

/// An edge (from, to, weight).
pub(crate) type Edge = (usize, usize, f64);

impl Linear {
    /// The map of an op that is one.
    pub(crate) fn of(op: &Op) -> Option<Linear> {
        match &op.kind {
            Kind::Mix { map, .. } => Some(Linear::Map(map.clone())),
            Kind::Aggregate(linear) => Some(linear.clone()),
            Kind::Sum { ops, .. } => match &ops[..] {
                [(_, only)] => Linear::of(only),
                _ => None,
            },
            Kind::Serial(ops) => ops.iter().map(Linear::of).collect::<Option<_>>().map(Linear::Serial),
            _ => None,
        }
    }

    /// The op of this map.
    pub(crate) fn kind(self, inputs: usize) -> Kind {
        match self.written(inputs, None) {
            Ok(map) => Kind::Mix {
                map,
                global: None,
                axes: None,
                padding: Padding::Valid,
                edges: false,
                blocks: None,
                name: "a sum",
            },
            Err(_) => Kind::Aggregate(self),
        }
    }

    /// Whether positions beyond the length of a sample stay there, whatever the length.
    pub(crate) fn keeps_lengths(&self) -> bool {
        match self {
            Linear::Map(_) => false,
            Linear::Edges { .. } => true,
            Linear::Serial(all) | Linear::Sum(all) => all.iter().all(Linear::keeps_lengths),
        }
    }

    /// The map of a sample with these edges.
    ///
    /// # Errors
    /// The first edge that leads out of its nodes, and how many there are.
    pub(crate) fn written(
        &self,
        inputs: usize,
        edges: Option<&[Edge]>,
    ) -> Result<AxisMap, Option<(Edge, usize)>> {
        match self {
            Linear::Map(map) => Ok(map.clone()),
            Linear::Edges { grid, axis } => {
                let sides = grid.sides();
                let nodes = sides[*axis];
                let mut map = AxisMap { inputs: nodes, rows: vec![Vec::new(); nodes] };
                for &(from, to, weight) in edges.ok_or(None)? {
                    if from >= nodes || to >= nodes {
                        return Err(Some(((from, to, weight), nodes)));
                    }
                    map.rows[to].push((from, weight));
                }
                let mut maps: Vec<AxisMap> = sides.iter().map(|&side| AxisMap::identity(side)).collect();
                maps[*axis] = map;
                Ok(AxisMap::product(&maps))
            }
            Linear::Serial(all) => all.iter().try_fold(AxisMap::identity(inputs), |first, next| {
                let next = next.written(first.rows.len(), edges)?;
                let row = |row: &Vec<(usize, f64)>| {
                    let mut out = Vec::new();
                    for &(middle, w) in row {
                        add(&mut out, first.rows[middle].iter().map(|&(p, v)| (p, v * w)));
                    }
                    out
                };
                Ok(AxisMap { inputs: first.inputs, rows: next.rows.iter().map(row).collect() })
            }),
            Linear::Sum(all) => {
                let mut sum: Option<AxisMap> = None;
                for term in all {
                    let term = term.written(inputs, edges)?;
                    match &mut sum {
                        Some(sum) => {
                            sum.rows.iter_mut().zip(term.rows).for_each(|(sum, row)| add(sum, row));
                        }
                        none => *none = Some(term),
                    }
                }
                Ok(sum.unwrap_or(AxisMap { inputs, rows: vec![Vec::new(); inputs] }))
            }
        }
    }
}

fn add(row: &mut Vec<(usize, f64)>, other: impl IntoIterator<Item = (usize, f64)>) {
    row.extend(other);
    row.sort_by_key(|(position, _)| *position);
    row.dedup_by(|b, a| {
        a.0 == b.0 && {
            a.1 += b.1;
            true
        }
    });
}
