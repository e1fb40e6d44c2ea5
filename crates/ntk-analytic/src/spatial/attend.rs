//! stub
use super::op::Op;
use super::pass::Samples;
use super::stage::Of;
use super::state::State;
use crate::Error;
use ntk_core::Attention;
pub(crate) struct Stage;
impl Stage {
    pub(crate) fn run(&self, _: &mut State, _: Of) {}
    pub(crate) fn error(&self) -> f64 {
        0.0
    }
}
pub(crate) fn pass(
    op: &Op,
    _: &Attention,
    _: [f64; 2],
    _: &mut Samples<'_>,
) -> Result<super::stage::Stage, Error> {
    Err(Error::UnknownLayer { name: op.at.clone() })
}
