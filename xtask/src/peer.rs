//! Numbers against the peer: the same networks in neural-tangents and here, in turns, as one table of ratios.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use serde_json::{Value, json};
use xshell::cmd;

use crate::project::Project;

/// Processes of each program and row.
const TURNS: usize = 3;

/// Runs both programs in turns and prints the table; `json` also gets every number.
pub(crate) fn run(
    project: &Project,
    rows: &[String],
    install: bool,
    json: Option<&Path>,
) -> anyhow::Result<()> {
    let python = python(project, install)?;
    let (shell, target) = (&project.shell, &project.target);
    cmd!(shell, "cargo build --quiet --release --bin ntk-bench").env("CARGO_TARGET_DIR", target).run()?;
    let ours = target.join("release/ntk-bench");
    let all = cmd!(shell, "{ours} time").quiet().read()?;
    let all: Vec<&str> = all.lines().collect();
    if let Some(row) = rows.iter().find(|row| !all.contains(&row.as_str())) {
        bail!("no row is called \"{row}\"; there are: {}", all.join(", "));
    }
    let script = project.root.join("benches/peer/peer.py");
    let mut lines = Vec::new();
    for row in all.into_iter().filter(|row| rows.is_empty() || rows.iter().any(|name| name == row)) {
        for dtype in ["float32", "float64"] {
            let (mut here, mut there) = (Vec::new(), Vec::new());
            for _ in 0..TURNS {
                // In turns, so that what else the machine does meets both.
                here.push(parse(&cmd!(shell, "{ours} time {row} --dtype {dtype}").quiet().read()?)?);
                there.push(parse(
                    &cmd!(shell, "{python} {script} {row} {dtype}").quiet().ignore_stderr().read()?,
                )?);
            }
            let line = line(row, dtype, &here, &there)?;
            let [check, peer] = ["check", "peer_check"].map(|key| line[key].as_f64().unwrap_or(f64::NAN));
            println!("{} results differ by {:.0e}", shown(&line), (check / peer - 1.0).abs());
            lines.push(line);
            // Row by row, so that an interrupted comparison keeps what it has.
            if let Some(path) = json {
                let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
                shell.write_file(path, text)?;
            }
        }
    }
    println!("\n{}", table(&lines));
    Ok(())
}

/// The interpreter that has neural-tangents, in an environment of its own.
fn python(project: &Project, install: bool) -> anyhow::Result<PathBuf> {
    let environment = project.target.join("peer");
    let python = environment.join(if cfg!(windows) { "Scripts/python.exe" } else { "bin/python" });
    let shell = &project.shell;
    if install && !python.exists() {
        let requirements = project.root.join("benches/peer/requirements.txt");
        cmd!(shell, "python3 -m venv {environment}")
            .run()
            .context("python3 with venv is needed, 3.9 to 3.12")?;
        cmd!(shell, "{python} -m pip install --quiet -r {requirements}").run()?;
    }
    if !python.exists() {
        bail!(
            "neural-tangents is not installed: `cargo xtask peer --install` brings it to {}",
            environment.display()
        );
    }
    Ok(python)
}

fn parse(text: &str) -> anyhow::Result<Value> {
    Ok(serde_json::from_str(text.lines().last().unwrap_or_default())?)
}

/// Medians over all warm calls and spread over processes, of both, with their ratios.
fn line(row: &str, dtype: &str, here: &[Value], there: &[Value]) -> anyhow::Result<Value> {
    let numbers = |runs: &[Value]| -> anyhow::Result<[f64; 4]> {
        let cold: Vec<f64> = runs.iter().filter_map(|run| run["cold"].as_f64()).collect();
        let medians: Vec<f64> = runs
            .iter()
            .map(|run| {
                median(run["warm"].as_array().into_iter().flatten().filter_map(Value::as_f64).collect())
            })
            .collect();
        let spread = medians.iter().fold(0.0, |a: f64, b| a.max(*b))
            / medians.iter().fold(f64::INFINITY, |a: f64, b| a.min(*b));
        let check = runs.first().and_then(|run| run["check"].as_f64()).context("a run without a check")?;
        Ok([median(cold), median(medians), spread, check])
    };
    let ([cold, warm, spread, check], [peer_cold, peer_warm, peer_spread, peer_check]) =
        (numbers(here)?, numbers(there)?);
    Ok(json!({
        "row": row, "dtype": dtype,
        "cold": cold, "warm": warm, "spread": spread, "check": check,
        "diagonal_error": here.first().map(|run| &run["diagonal_error"]),
        "peer_diagonal_error": there.first().map(|run| &run["diagonal_error"]),
        "peer_cold": peer_cold, "peer_warm": peer_warm, "peer_spread": peer_spread, "peer_check": peer_check,
        "ratio_cold": peer_cold / cold, "ratio_warm": peer_warm / warm,
    }))
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => f64::NAN,
        n if n % 2 == 1 => values[n / 2],
        n => 0.5 * (values[n / 2 - 1] + values[n / 2]),
    }
}

fn shown(line: &Value) -> String {
    let number = |key: &str| line[key].as_f64().unwrap_or(f64::NAN);
    let text = |key: &str| line[key].as_str().unwrap_or_default().to_owned();
    let errors = match (line["diagonal_error"].as_f64(), line["peer_diagonal_error"].as_f64()) {
        (Some(here), Some(there)) => format!("{here:.0e}, {there:.0e}"),
        _ => String::new(),
    };
    format!(
        "| {} | {} | {} | {} | {:.1} | {} | {} | {:.1} | {errors} |",
        text("row"),
        text("dtype"),
        time(number("warm")),
        time(number("peer_warm")),
        number("ratio_warm"),
        time(number("cold")),
        time(number("peer_cold")),
        number("ratio_cold"),
    )
}

fn time(seconds: f64) -> String {
    if seconds < 1e-3 {
        format!("{:.0} µs", seconds * 1e6)
    } else if seconds < 1.0 {
        format!("{:.2} ms", seconds * 1e3)
    } else {
        format!("{seconds:.2} s")
    }
}

fn table(lines: &[Value]) -> String {
    let head = "| row | numbers | ntk | neural-tangents | ratio | ntk, first call | neural-tangents, first call | ratio | \
                errors of the diagonal |\n|---|---|---|---|---|---|---|---|---|\n";
    lines.iter().fold(head.to_owned(), |text, line| text + &shown(line) + "\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_hold_medians_and_ratios() {
        let run = |cold: f64, warm: [f64; 3]| json!({ "cold": cold, "warm": warm, "check": 2.0 });
        let line = line("r", "float64", &[run(1.0, [0.1, 0.3, 0.2])], &[run(4.0, [2.0, 1.0, 3.0])]).unwrap();
        assert_eq!((line["warm"].as_f64(), line["peer_warm"].as_f64()), (Some(0.2), Some(2.0)));
        assert!((line["ratio_warm"].as_f64().unwrap() - 10.0).abs() < 1e-12);
        assert!(table(&[line]).lines().count() == 3);
    }
}
