//! Figures drawn as SVG that takes its colors from the page, so that it is right in light and dark.

use std::fmt::Write as _;

use plotters::coord::Shift;
use plotters::prelude::*;

use super::{Marks, Plot};
use crate::page::escape;

const SIZE: (u32, u32) = (960, 620);
/// Of the drawing, whose width becomes at most 40 rem on the page.
const FONT: u32 = 32;
const STROKE: u32 = 4;
/// Lines through at most this many points show them.
const FEW: usize = 24;
/// Colors, dashes and markers repeat after this many labels.
const STYLES: usize = 6;

/// Stand-ins for colors of the page, replaced by [`themed`] when the drawing is done.
const INK: RGBColor = RGBColor(1, 0, 0);
const fn series_color(style: usize) -> RGBColor {
    RGBColor(2, 0, (style % STYLES) as u8)
}

const fn line_color(style: usize) -> RGBColor {
    RGBColor(3, 0, (style % STYLES) as u8)
}

/// Dashes and gaps of lines; none for the first, which is solid.
const DASHES: [&str; STYLES] = ["none", "18 8", "5 7", "30 10", "18 6 5 6", "8 14"];

/// Colors of the page in its light form, for figures that no page colors.
const ON_WHITE: &str = "svg{color:#1b1f24;--series-0:#0b5cad;--series-1:#b3470d;--series-2:#1a7f37;\
                        --series-3:#8250df;--series-4:#9a6700;--series-5:#bf3989}";

fn themed(svg: &str) -> String {
    let mut svg = svg.replace("\"#010000\"", "\"currentColor\"");
    for (style, dash) in DASHES.iter().enumerate() {
        let color = format!("\"var(--series-{style})\"");
        svg = svg.replace(&format!("\"#0200{style:02X}\""), &color);
        svg = svg.replace(&format!("\"#0300{style:02X}\""), &format!("{color} stroke-dasharray=\"{dash}\""));
    }
    svg
}

type Draw = Result<(), Box<dyn std::error::Error>>;
type Backend<'a> = SVGBackend<'a>;

impl Plot {
    /// The figure as an `<svg>` element, without its legend. Colors: `currentColor` and `--series-0` … `--series-5`.
    pub fn svg(&self) -> String {
        let mut text = String::new();
        let drawn = self.draw(&SVGBackend::with_string(&mut text, SIZE).into_drawing_area());
        if let Err(error) = drawn {
            return format!("<p>This figure cannot be drawn: {}.</p>\n", escape(&error.to_string()));
        }
        let body = text.find('>').map_or("", |end| &text[end + 1..]);
        let (width, height) = SIZE;
        let title = escape(&self.title);
        format!(
            "<svg viewBox=\"0 0 {width} {height}\" role=\"img\" aria-label=\"{title}\"><title>{title}</title>{}",
            themed(body)
        )
    }

    /// The legend as an HTML list, each entry with a sample of its line and marker.
    pub fn legend(&self) -> String {
        let mut html = String::from("<ul class=\"legend\">");
        for (style, label) in self.labels().into_iter().enumerate() {
            let sample = format!(
                "<svg viewBox=\"0 0 80 28\" aria-hidden=\"true\">{}",
                self.sample_body(style, label).trim_end()
            );
            // Writing to a string cannot fail.
            let _infallible = write!(html, "<li>{sample} {}</li>", escape(label));
        }
        html + "</ul>\n"
    }

    /// The figure as a file of its own, with its legend below and colors on white inside, for pages that show it as an
    /// image.
    pub fn standalone_svg(&self) -> String {
        const ROW: u32 = 44;
        /// What the library that draws makes of [`FONT`] at the axes.
        const LEGEND_FONT: u32 = FONT * 4 / 5;
        let labels = self.labels();
        let (width, height) = SIZE;
        let whole = height + ROW * labels.len() as u32 + ROW / 2;
        let figure = self.svg().replacen("<svg ", &format!("<svg width=\"{width}\" height=\"{height}\" "), 1);
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {whole}\">\n<style>{ON_WHITE}</style>\n\
             <rect width=\"{width}\" height=\"{whole}\" fill=\"#ffffff\"/>\n{}\n",
            figure.trim_end()
        );
        for (style, label) in labels.into_iter().enumerate() {
            let top = height + ROW * style as u32;
            // Writing to a string cannot fail.
            let _infallible = writeln!(
                svg,
                "<svg x=\"140\" y=\"{top}\" width=\"80\" height=\"28\">{}\n\
                 <text x=\"240\" y=\"{}\" font-family=\"sans-serif\" font-size=\"{LEGEND_FONT}\" fill=\"currentColor\">{}</text>",
                self.sample_body(style, label).trim_end(),
                top + 23,
                escape(label)
            );
        }
        svg + "</svg>\n"
    }

    /// The sample of a label for a legend, 80 by 28, after the opening tag.
    fn sample_body(&self, style: usize, label: &str) -> String {
        let mut text = String::new();
        // Drawing into a string cannot fail; an entry without its sample would still be readable.
        let _infallible =
            self.sample(style, label, &SVGBackend::with_string(&mut text, (80, 28)).into_drawing_area());
        themed(text.find('>').map_or("", |end| &text[end + 1..]))
    }

    fn draw(&self, root: &DrawingArea<Backend<'_>, Shift>) -> Draw {
        let Some([x, y]) = self.extent() else {
            let middle = (SIZE.0 as i32 / 2 - 80, SIZE.1 as i32 / 2);
            root.draw_text("nothing to draw", &text_style(root), middle)?;
            return Ok(root.present()?);
        };
        let (x, y) = (self.x.over(x), self.y.over(y));
        let mut chart = ChartBuilder::on(root)
            .margin(16)
            .margin_right(40)
            .x_label_area_size(90)
            .y_label_area_size(140)
            .build_cartesian_2d(x.clone(), y.clone())?;
        chart
            .configure_mesh()
            .x_labels(7)
            .y_labels(6)
            .x_desc(&self.x.label)
            .y_desc(&self.y.label)
            .axis_style(INK.stroke_width(2))
            .bold_line_style(INK.mix(0.15).stroke_width(2))
            .label_style(text_style(root))
            .axis_desc_style(text_style(root))
            .draw()?;
        let labels = self.labels();
        for series in &self.series {
            let style = labels.iter().position(|label| *label == series.label).unwrap_or(0);
            let color = series_color(style);
            let shown = |points: &[[f64; 2]]| -> Vec<(f64, f64)> {
                points
                    .iter()
                    .filter(|p| self.x.shows(p[0]) && self.y.shows(p[1]))
                    .map(|p| (p[0], p[1]))
                    .collect()
            };
            let clamped = |points: &[[f64; 3]]| -> Vec<[f64; 3]> {
                let on_axis = |p: &&[f64; 3]| self.x.shows(p[0]);
                points.iter().filter(on_axis).map(|p| [p[0], y.clamp(p[1]), y.clamp(p[2])]).collect()
            };
            match &series.marks {
                Marks::Line(points) => {
                    let points = shown(points);
                    chart.draw_series([line(points.clone(), style)])?;
                    if points.len() <= FEW {
                        points.iter().try_for_each(|p| marker(root, style, chart.backend_coord(p)))?;
                    }
                }
                Marks::Points(points) => {
                    shown(points).iter().try_for_each(|p| marker(root, style, chart.backend_coord(p)))?;
                }
                Marks::Reference(points) => {
                    chart.draw_series([PathElement::new(shown(points), INK.stroke_width(2))])?;
                }
                Marks::Band(points) => {
                    let points = clamped(points);
                    let low = points.iter().map(|p| (p[0], p[1]));
                    let high = points.iter().rev().map(|p| (p[0], p[2]));
                    let outline: Vec<(f64, f64)> = low.chain(high).collect();
                    chart.draw_series([Polygon::new(outline, color.mix(0.22).filled())])?;
                }
                Marks::ErrorBars(points) => {
                    for [x, low, high] in clamped(points) {
                        error_bar(
                            root,
                            style,
                            chart.backend_coord(&(x, low)),
                            chart.backend_coord(&(x, high)),
                        )?;
                    }
                }
            }
        }
        Ok(root.present()?)
    }

    /// A short line, with what the label has in the figure.
    fn sample(&self, style: usize, label: &str, root: &DrawingArea<Backend<'_>, Shift>) -> Draw {
        let (ends, middle) = (vec![(2, 14), (78, 14)], (40, 14));
        for series in self.series.iter().filter(|series| series.label == label) {
            match &series.marks {
                Marks::Line(points) => {
                    root.draw(&line(ends.clone(), style))?;
                    if points.len() <= FEW {
                        marker(root, style, middle)?;
                    }
                }
                Marks::Points(_) => marker(root, style, middle)?,
                Marks::Reference(_) => root.draw(&PathElement::new(ends.clone(), INK.stroke_width(2)))?,
                Marks::Band(_) => {
                    root.draw(&Rectangle::new([(2, 3), (78, 25)], series_color(style).mix(0.22).filled()))?;
                }
                Marks::ErrorBars(_) => error_bar(root, style, (40, 26), (40, 2))?,
            }
        }
        Ok(root.present()?)
    }
}

fn text_style<'a>(root: &DrawingArea<Backend<'_>, Shift>) -> TextStyle<'a> {
    ("sans-serif", FONT, &INK).into_text_style(root)
}

fn line<C>(points: Vec<C>, style: usize) -> PathElement<C> {
    PathElement::new(points, line_color(style).stroke_width(STROKE))
}

/// A shape of its own for each style, at a pixel: circle, square, triangle, diamond, inverted triangle, cross.
fn marker(root: &DrawingArea<Backend<'_>, Shift>, style: usize, (x, y): (i32, i32)) -> Draw {
    let color = series_color(style);
    let stroke = color.stroke_width(STROKE);
    let polygon: &[(i32, i32)] = match style % STYLES {
        0 => return Ok(root.draw(&Circle::new((x, y), 10, color.filled()))?),
        1 => &[(-9, -9), (9, -9), (9, 9), (-9, 9)],
        2 => &[(0, -12), (11, 8), (-11, 8)],
        3 => &[(0, -13), (13, 0), (0, 13), (-13, 0)],
        4 => &[(0, 12), (11, -8), (-11, -8)],
        _ => {
            root.draw(&PathElement::new([(x - 9, y - 9), (x + 9, y + 9)], stroke))?;
            return Ok(root.draw(&PathElement::new([(x - 9, y + 9), (x + 9, y - 9)], stroke))?);
        }
    };
    let corners: Vec<_> = polygon.iter().map(|(dx, dy)| (x + dx, y + dy)).collect();
    Ok(root.draw(&Polygon::new(corners, color.filled()))?)
}

/// A bar between two pixels, one above the other, with caps.
fn error_bar(
    root: &DrawingArea<Backend<'_>, Shift>,
    style: usize,
    low: (i32, i32),
    high: (i32, i32),
) -> Draw {
    let stroke = series_color(style).stroke_width(3);
    let cap = |(x, y)| [(x - 7, y), (x + 7, y)];
    [[low, high], cap(low), cap(high)]
        .into_iter()
        .try_for_each(|ends| Ok(root.draw(&PathElement::new(ends, stroke))?))
}
