//! `Grid`: the positions of a sample, and the sparse maps between positions that layers without weights are made of.

use crate::Error;

/// The positions of one sample: the sides of a grid, last axis fastest; a vector is a grid of no axes and one position.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Grid {
    rank: usize,
    sides: [usize; Grid::MAX_RANK],
}

impl Grid {
    /// The largest number of axes.
    pub const MAX_RANK: usize = 6;
    /// The largest number of positions.
    pub const MAX_POSITIONS: usize = 1 << 31;
    /// No axes and one position.
    pub const VECTOR: Grid = Grid { rank: 0, sides: [0; Grid::MAX_RANK] };

    /// A grid of these sides, for example `[height, width]`.
    ///
    /// # Errors
    /// [`Error::Grid`] for more than [`Grid::MAX_RANK`] axes, a side of zero, or more than [`Grid::MAX_POSITIONS`].
    pub fn new(sides: &[usize]) -> Result<Self, Error> {
        let positions = sides.iter().try_fold(1usize, |product, &side| product.checked_mul(side));
        let counted = positions.is_some_and(|positions| (1..=Grid::MAX_POSITIONS).contains(&positions));
        if sides.len() > Grid::MAX_RANK || !counted {
            return Err(Error::Grid { sides: sides.to_vec() });
        }
        let mut grid = Grid { rank: sides.len(), ..Grid::VECTOR };
        grid.sides[..sides.len()].copy_from_slice(sides);
        Ok(grid)
    }

    /// Number of axes.
    pub fn rank(&self) -> usize {
        self.rank
    }

    /// Positions along each axis.
    pub fn sides(&self) -> &[usize] {
        &self.sides[..self.rank]
    }

    /// Number of positions.
    pub fn positions(&self) -> usize {
        self.sides().iter().product()
    }

    /// The same grid with another side, or without the axis.
    pub(crate) fn with_side(&self, axis: usize, side: Option<usize>) -> Result<Self, Error> {
        let mut sides = self.sides().to_vec();
        match side {
            Some(side) => sides[axis] = side,
            None => drop(sides.remove(axis)),
        }
        Grid::new(&sides)
    }

    /// The coordinates of a position. Coordinates beyond the rank are 0.
    pub fn coordinates(&self, mut position: usize) -> [usize; Grid::MAX_RANK] {
        let mut at = [0; Grid::MAX_RANK];
        for axis in (0..self.rank).rev() {
            at[axis] = position % self.sides[axis];
            position /= self.sides[axis];
        }
        at
    }
}

impl std::fmt::Debug for Grid {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}", self.sides())
    }
}

/// A linear map along one axis: output s is Σ w x_p over its (p, w).
#[derive(Clone, Debug, PartialEq)]
pub struct AxisMap {
    /// Positions that come in.
    pub inputs: usize,
    /// For each position that goes out, the positions and weights it is made of, in ascending order.
    pub rows: Vec<Vec<(usize, f64)>>,
}

impl AxisMap {
    /// The identity.
    pub fn identity(side: usize) -> Self {
        AxisMap { inputs: side, rows: (0..side).map(|s| vec![(s, 1.0)]).collect() }
    }

    /// The map over a whole grid whose axes are mapped one by one: rows of the product, last axis fastest.
    pub fn product(axes: &[AxisMap]) -> AxisMap {
        axes.iter().fold(AxisMap::identity(1), |first, axis| {
            let rows = first.rows.iter().flat_map(|a| {
                axis.rows.iter().map(move |b| {
                    a.iter()
                        .flat_map(|&(p, v)| b.iter().map(move |&(q, w)| (p * axis.inputs + q, v * w)))
                        .collect()
                })
            });
            AxisMap { rows: rows.collect(), inputs: first.inputs * axis.inputs }
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // Tests may.
mod tests {
    use super::*;

    #[test]
    fn a_product_of_maps_maps_the_product() {
        let mean = AxisMap { inputs: 2, rows: vec![vec![(0, 0.5), (1, 0.5)]] };
        let both = AxisMap::product(&[mean.clone(), AxisMap::identity(3)]);
        assert_eq!((both.inputs, both.rows.len()), (6, 3));
        assert_eq!(both.rows[1], vec![(1, 0.5), (4, 0.5)]);
        assert_eq!(AxisMap::product(&[]).rows, vec![vec![(0, 1.0)]]);
    }

    #[test]
    fn grids_refuse_what_has_no_positions() {
        assert!(
            Grid::new(&[3, 0]).is_err()
                && Grid::new(&[1; 7]).is_err()
                && Grid::new(&[usize::MAX, 2]).is_err()
        );
        let grid = Grid::new(&[2, 3, 4]).unwrap();
        assert_eq!((grid.positions(), &grid.coordinates(17)[..3]), (24, &[1, 1, 1][..]));
        assert_eq!(Grid::VECTOR.positions(), 1);
    }
}
