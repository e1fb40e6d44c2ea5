//! Figures as data: axes and series, drawn as SVG when a report is rendered.

mod axis;
mod svg;

use serde::{Deserialize, Serialize};

pub use axis::{Axis, Scale};

/// A figure.
///
/// Series with equal labels share a color, a dash and a marker, and one entry of the legend: give a line and its band
/// the same label.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Plot {
    /// What it shows; the caption of the figure.
    pub title: String,
    /// The horizontal axis.
    pub x: Axis,
    /// The vertical axis.
    pub y: Axis,
    /// What is drawn, from back to front.
    pub series: Vec<Series>,
}

/// Points under one label.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Series {
    /// The entry of the legend.
    pub label: String,
    /// The points and how they are drawn.
    pub marks: Marks,
}

/// Points and how they are drawn. Points that are not finite, or not positive on a logarithmic axis, are left out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Marks {
    /// (x, y), joined; with markers if they are few.
    Line(Vec<[f64; 2]>),
    /// (x, y), markers alone.
    Points(Vec<[f64; 2]>),
    /// (x, y), a thin line in the color of the text: a theorem's rate, an exact value.
    Reference(Vec<[f64; 2]>),
    /// (x, low, high), a shaded region.
    Band(Vec<[f64; 3]>),
    /// (x, low, high), bars.
    ErrorBars(Vec<[f64; 3]>),
}

impl Plot {
    /// An empty figure with linear axes.
    pub fn new(title: &str, x: &str, y: &str) -> Self {
        let axis = |label: &str| Axis { label: label.to_owned(), scale: Scale::Linear };
        Plot { title: title.to_owned(), x: axis(x), y: axis(y), series: Vec::new() }
    }

    /// The same figure with a logarithmic horizontal axis.
    pub fn log_x(mut self) -> Self {
        self.x.scale = Scale::Log;
        self
    }

    /// The same figure with a logarithmic vertical axis.
    pub fn log_y(mut self) -> Self {
        self.y.scale = Scale::Log;
        self
    }

    /// The same figure with two logarithmic axes.
    pub fn log_log(self) -> Self {
        self.log_x().log_y()
    }

    /// Adds points (x, y) joined by a line.
    pub fn line(self, label: &str, points: impl IntoIterator<Item = [f64; 2]>) -> Self {
        self.with(label, Marks::Line(finite(points)))
    }

    /// Adds points (x, y) as markers.
    pub fn points(self, label: &str, points: impl IntoIterator<Item = [f64; 2]>) -> Self {
        self.with(label, Marks::Points(finite(points)))
    }

    /// Adds what the theory says, (x, y), as a thin line.
    pub fn reference(self, label: &str, points: impl IntoIterator<Item = [f64; 2]>) -> Self {
        self.with(label, Marks::Reference(finite(points)))
    }

    /// Adds the region between two curves, (x, low, high).
    pub fn band(self, label: &str, points: impl IntoIterator<Item = [f64; 3]>) -> Self {
        self.with(label, Marks::Band(finite(points)))
    }

    /// Adds bars (x, low, high).
    pub fn error_bars(self, label: &str, points: impl IntoIterator<Item = [f64; 3]>) -> Self {
        self.with(label, Marks::ErrorBars(finite(points)))
    }

    fn with(mut self, label: &str, marks: Marks) -> Self {
        self.series.push(Series { label: label.to_owned(), marks });
        self
    }

    /// Labels in order of first appearance; the place of a label is its style.
    fn labels(&self) -> Vec<&str> {
        let mut labels: Vec<&str> = Vec::new();
        for series in &self.series {
            if !labels.contains(&series.label.as_str()) {
                labels.push(&series.label);
            }
        }
        labels
    }

    /// The smallest and largest coordinates of everything drawn, x then y; none if nothing can be drawn.
    fn extent(&self) -> Option<[[f64; 2]; 2]> {
        let mut extent = [[f64::INFINITY, f64::NEG_INFINITY]; 2];
        let mut grow = |x: f64, y: f64| {
            if self.x.shows(x) && self.y.shows(y) {
                for (range, value) in extent.iter_mut().zip([x, y]) {
                    *range = [range[0].min(value), range[1].max(value)];
                }
            }
        };
        for series in &self.series {
            match &series.marks {
                Marks::Line(points) | Marks::Points(points) | Marks::Reference(points) => {
                    points.iter().for_each(|p| grow(p[0], p[1]));
                }
                Marks::Band(points) | Marks::ErrorBars(points) => {
                    points.iter().for_each(|p| p[1..].iter().for_each(|&y| grow(p[0], y)));
                }
            }
        }
        (extent[0][0] <= extent[0][1]).then_some(extent)
    }
}

fn finite<const N: usize>(points: impl IntoIterator<Item = [f64; N]>) -> Vec<[f64; N]> {
    points.into_iter().filter(|point| point.iter().all(|v| v.is_finite())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Plot {
        Plot::new("Error <against> width", "width n", "error")
            .log_log()
            .band("tanh & band", [[16.0, 0.1, 0.3], [64.0, 0.05, 0.2]])
            .line("tanh & band", [[16.0, 0.2], [64.0, 0.1], [256.0, f64::NAN], [256.0, -1.0]])
            .reference("n^(−1/2)", [[16.0, 0.2], [64.0, 0.1]])
    }

    #[test]
    fn what_cannot_be_drawn_is_left_out() {
        let plot = sample();
        assert_eq!(plot.extent(), Some([[16.0, 64.0], [0.05, 0.3]]));
        assert_eq!(plot.labels(), ["tanh & band", "n^(−1/2)"]);
        assert_eq!(Plot::new("", "", "").log_y().line("", [[0.0, 0.0]]).extent(), None);
    }

    #[test]
    fn drawings_follow_the_theme_and_escape_text() {
        let (svg, legend) = (sample().svg(), sample().legend());
        assert!(svg.starts_with("<svg") && svg.contains("viewBox"));
        assert!(svg.contains("currentColor") && svg.contains("var(--series-0)"));
        assert!(!svg.contains("#0"), "a color was left that does not follow the theme");
        assert!(svg.contains("Error &lt;against&gt; width") && legend.contains("tanh &amp; band"));
        assert!(!svg.contains("NaN") && !svg.contains("inf"));
        assert_eq!(legend.matches("<li>").count(), 2);
    }

    #[test]
    fn empty_and_degenerate_figures_are_drawn() {
        for plot in [
            Plot::new("empty", "x", "y"),
            Plot::new("one point", "x", "y").log_log().points("p", [[3.0, 0.5]]),
            Plot::new("constant", "x", "y").line("c", [[0.0, 0.0], [1.0, 0.0]]),
            Plot::new("huge", "x", "y").log_y().line("c", [[0.0, 1e-300], [1.0, 1e300]]),
        ] {
            assert!(plot.svg().ends_with("</svg>\n"), "{}", plot.title);
        }
    }

    #[test]
    fn a_figure_survives_json() {
        let text = serde_json::to_string(&sample()).unwrap();
        assert_eq!(serde_json::from_str::<Plot>(&text).unwrap(), sample());
    }
}
