//! One file for each command: its options with their help, and what it does.

pub(crate) mod describe;
pub(crate) mod finite;
pub(crate) mod kernel;
pub(crate) mod manual;
pub(crate) mod predict;
pub(crate) mod program;
pub(crate) mod train_compare;

use serde_json::{Map, Value, json};

use crate::files::{Named, Output};
use crate::report::Report;

/// The report of a command that wrote arrays.
fn wrote(output: &Output, arrays: &[Named<'_>], seconds: f64, provenance: Value) -> Report {
    let file = output.output.display();
    let shape = |array: &Named<'_>| format!("{} {:?}", array.name, array.values.shape());
    let shapes = arrays.iter().map(shape).collect::<Vec<_>>().join(", ");
    let shapes_json: Map<String, Value> =
        arrays.iter().map(|array| (array.name.clone(), json!(array.values.shape()))).collect();
    Report {
        answer: String::new(),
        note: format!("{file}: {shapes}; {seconds:.2} s"),
        json: json!({
            "output": file.to_string(),
            "arrays": shapes_json,
            "seconds": seconds,
            "provenance": provenance,
        }),
    }
}
