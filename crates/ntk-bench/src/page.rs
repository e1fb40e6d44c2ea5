//! The report: one HTML page without external requests, with every verdict, figure and number.

use std::fmt::Write as _;

use crate::Claim;
use crate::experiment::Table;
use crate::number::{duration, show};
use crate::runner::Record;

/// Where links to code and book lead: followed by the reader, never by the page itself.
const REPOSITORY: &str = concat!(env!("CARGO_PKG_REPOSITORY"), "/tree/main");
const STYLE: &str = include_str!("page/style.css");

/// The page of these records.
pub fn html(records: &[Record]) -> String {
    let mut page = Page::default();
    page.push(&format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n\
         <title>Claims about wide networks, measured</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n\
         <a class=\"skip\" href=\"#experiments\">Skip to the experiments</a>\n\
         <header>\n<h1>Claims about wide networks, measured</h1>\n"
    ));
    page.overview(records);
    page.push("<main id=\"experiments\">\n");
    records.iter().for_each(|record| page.experiment(record));
    page.push("</main>\n</body>\n</html>\n");
    page.text
}

/// Text made safe for HTML content and for attributes in double quotes.
pub(crate) fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[derive(Default)]
struct Page {
    text: String,
}

impl Page {
    fn push(&mut self, html: &str) {
        self.text.push_str(html);
    }

    fn element(&mut self, tag: &str, text: &str) {
        let name = tag.split(' ').next().unwrap_or(tag);
        // Writing to a string cannot fail.
        let _infallible = writeln!(self.text, "<{tag}>{}</{name}>", escape(text));
    }

    /// Claims of all experiments in one table, after a sentence that sums them up.
    fn overview(&mut self, records: &[Record]) {
        let claims = || records.iter().flat_map(|record| &record.report.claims);
        let (held, all) = (claims().filter(|claim| claim.holds).count(), claims().count());
        let stopped = records.iter().filter(|record| record.error.is_some()).count();
        let minutes = records.iter().map(|record| record.seconds).sum::<f64>() / 60.0;
        let mut sum = format!(
            "{held} of {all} claims hold, in {} experiments that took {} minutes.",
            records.len(),
            show((minutes * 10.0).round() / 10.0)
        );
        if stopped > 0 {
            sum += &format!(" {stopped} of the experiments stopped before the end.");
        }
        self.element(
            &format!("p class=\"{}\"", if held == all && stopped == 0 { "good" } else { "bad" }),
            &sum,
        );
        self.push("</header>\n<section aria-labelledby=\"overview\">\n<h2 id=\"overview\">Verdicts</h2>\n");
        self.papers(records);
        self.open_table("Claims, by experiment", &["Verdict", "Claim", "Measured", "Should be"]);
        for record in records {
            let (name, title) = (escape(&record.name), escape(&record.title));
            self.push(&format!(
                "</tbody><tbody><tr><th scope=\"rowgroup\" colspan=\"4\"><a href=\"#{name}\">{title}</a> \
                 <span class=\"source\">{}</span></th></tr>\n",
                escape(&record.source)
            ));
            record.report.claims.iter().for_each(|claim| self.claim_row(claim, None));
            if let Some(error) = &record.error {
                let reason = escape(error);
                self.push(&format!(
                    "<tr><td class=\"bad\">✗ stopped</td><td colspan=\"3\">{reason}</td></tr>\n"
                ));
            }
        }
        self.push("</tbody></table></div>\n</section>\n");
    }

    /// One row for each paper: how many of its claims hold, and which of them is nearest to failing.
    fn papers(&mut self, records: &[Record]) {
        let key =
            |source: &str| source.split_once(']').map_or(source.to_owned(), |(key, _)| format!("{key}]"));
        let claims: Vec<(String, &Claim)> =
            records.iter().flat_map(|r| &r.report.claims).map(|claim| (key(&claim.source), claim)).collect();
        let mut papers: Vec<&String> = claims.iter().map(|(paper, _)| paper).collect();
        papers.sort();
        papers.dedup();
        self.open_table("Claims, by source", &["Source", "Hold", "Nearest to its bound", "Allowance used"]);
        for paper in papers {
            let of = || claims.iter().filter(|(other, _)| other == paper).map(|(_, claim)| *claim);
            let used = |claim: &Claim| claim.criterion.used(claim.got);
            let held = of().filter(|claim| claim.holds).count();
            let class = if held == of().count() { "good" } else { "bad" };
            let Some(nearest) = of().max_by(|a, b| used(a).total_cmp(&used(b))) else { continue };
            self.push(&format!(
                "<tr><th scope=\"row\">{}</th><td class=\"{class} number\">{held} of {}</td><td class=\"words\">{}</td>\
                 <td class=\"number\">{}</td></tr>\n",
                escape(paper),
                of().count(),
                escape(&nearest.quantity),
                if used(nearest).is_finite() { format!("{:.0} %", 100.0 * used(nearest)) } else { "∞".to_owned() },
            ));
        }
        self.push("</tbody></table></div>\n");
    }

    fn experiment(&mut self, record: &Record) {
        let name = escape(&record.name);
        self.push(&format!("<section aria-labelledby=\"{name}\">\n<h2 id=\"{name}\">"));
        self.push(&format!("{}</h2>\n", escape(&record.title)));
        self.push(&format!(
            "<p class=\"source\">{}. <a href=\"{REPOSITORY}/crates/ntk-bench/src/experiments\">Code</a>, \
             <a href=\"{REPOSITORY}/docs/src/SUMMARY.md\">book</a></p>\n",
            escape(&record.source)
        ));
        self.element("p", &record.claim);
        if !record.formula.is_empty() {
            self.push("<div class=\"wide\" role=\"region\" aria-label=\"Formula\" tabindex=\"0\">");
            self.element("p class=\"formula\"", &record.formula);
            self.push("</div>\n");
        }
        if let Some(error) = &record.error {
            self.element("p class=\"bad\"", &format!("✗ Stopped before the end: {error}."));
        }
        if !record.report.claims.is_empty() {
            self.open_table(
                &format!("Verdicts: {}", record.title),
                &["Verdict", "Claim", "Measured", "Should be", "Source"],
            );
            record.report.claims.iter().for_each(|claim| self.claim_row(claim, Some(&claim.source)));
            self.push("</tbody></table></div>\n");
        }
        if !record.report.plots.is_empty() {
            self.push("<div class=\"figures\">\n");
            for plot in &record.report.plots {
                self.push("<figure>\n");
                self.element("figcaption", &plot.title);
                self.push(&plot.svg());
                self.push(&plot.legend());
                self.push("</figure>\n");
            }
            self.push("</div>\n");
        }
        record.report.tables.iter().for_each(|table| self.table(table));
        record.report.notes.iter().for_each(|note| self.element("p class=\"note\"", note));
        self.circumstances(record);
        self.push("</section>\n");
    }

    fn claim_row(&mut self, claim: &Claim, source: Option<&str>) {
        let (class, verdict) = if claim.holds { ("good", "✓ holds") } else { ("bad", "✗ fails") };
        let source = source.map_or(String::new(), |source| format!("<td>{}</td>", escape(source)));
        self.push(&format!(
            "<tr><td class=\"{class}\">{verdict}</td><td class=\"words\">{}</td><td class=\"number\">{}</td>\
             <td class=\"number\">{}</td>{source}</tr>\n",
            escape(&claim.quantity),
            escape(&show(claim.got)),
            escape(&claim.criterion.to_string()),
        ));
    }

    fn table(&mut self, table: &Table) {
        let columns: Vec<&str> = table.columns.iter().map(String::as_str).collect();
        self.open_table(&table.caption, &columns);
        for row in &table.rows {
            self.push("<tr>");
            for (i, cell) in row.iter().enumerate() {
                let cell = escape(cell);
                self.push(&match i {
                    0 => format!("<th scope=\"row\">{cell}</th>"),
                    _ => format!("<td class=\"number\">{cell}</td>"),
                });
            }
            self.push("</tr>\n");
        }
        self.push("</tbody></table></div>\n");
    }

    /// A table in a container that scrolls by itself, with pointer and keyboard.
    fn open_table(&mut self, caption: &str, columns: &[&str]) {
        let caption = escape(caption);
        self.push(&format!(
            "<div class=\"wide\" role=\"region\" aria-label=\"{caption}\" tabindex=\"0\"><table>\n\
             <caption>{caption}</caption>\n<thead><tr>"
        ));
        columns.iter().for_each(|column| self.push(&format!("<th scope=\"col\">{}</th>", escape(column))));
        self.push("</tr></thead>\n<tbody>\n");
    }

    /// How the numbers came about: enough to make them again.
    fn circumstances(&mut self, record: &Record) {
        let memory = |bytes: u64| format!("{} MiB", bytes / (1 << 20));
        let peak = record.peak_memory_bytes.map_or("unknown".to_owned(), memory);
        let bound = record
            .expected_memory_bytes
            .map_or(String::new(), |bytes| format!(", at most {} expected", memory(bytes)));
        let machine = &record.machine;
        let known = |text: &str| if text.is_empty() { "unknown".to_owned() } else { text.to_owned() };
        let mut facts = vec![("Repeat with".to_owned(), record.command.clone())];
        facts.extend(record.report.sizes.iter().cloned());
        facts.extend([
            ("Seeds".to_owned(), runs(&record.report.seeds)),
            (
                "Time".to_owned(),
                format!("{} s, about {} expected", show(record.seconds), duration(record.expected_seconds)),
            ),
            ("Peak memory".to_owned(), peak + &bound),
            ("Device".to_owned(), record.device.to_string()),
            (
                "Machine".to_owned(),
                format!("{}, {} threads, {}", known(&machine.processor), machine.threads, machine.system),
            ),
            ("Commit".to_owned(), known(&record.commit)),
            ("Date".to_owned(), record.date.clone()),
        ]);
        self.push("<dl>\n");
        for (name, value) in facts {
            self.element("dt", &name);
            self.element("dd", &value);
        }
        self.push("</dl>\n");
    }
}

/// Sorted numbers with consecutive ones joined: `0–15, 20`.
fn runs(numbers: &[u64]) -> String {
    let groups = numbers.chunk_by(|a, b| *b == a + 1);
    let text = groups.map(|group| match group {
        [first, .., last] => format!("{first}–{last}"),
        [only] => only.to_string(),
        [] => String::new(),
    });
    let text: Vec<String> = text.collect();
    if text.is_empty() { "none".to_owned() } else { text.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_are_shortened() {
        assert_eq!(runs(&[0, 1, 2, 3, 7, 9, 10]), "0–3, 7, 9–10");
        assert_eq!(runs(&[]), "none");
    }

    #[test]
    fn text_is_escaped() {
        assert_eq!(escape("<a href=\"x\">&</a>"), "&lt;a href=&quot;x&quot;&gt;&amp;&lt;/a&gt;");
    }

    #[test]
    fn a_page_of_nothing_is_a_page() {
        let page = html(&[]);
        assert!(page.contains("0 of 0 claims hold") && page.ends_with("</html>\n"));
    }
}
