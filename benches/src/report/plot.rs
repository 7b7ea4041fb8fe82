//! Lines on logarithmic axes, as SVG written by hand: a plotting library would weigh more than all benches together.

use std::collections::BTreeMap;

use mcp_pool_benches::Point;

const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 360.0;
const LEFT: f64 = 70.0;
const RIGHT: f64 = 160.0;
const TOP: f64 = 40.0;
const BOTTOM: f64 = 40.0;
const COLOURS: [&str; 4] = ["#0b6e99", "#c4541a", "#5b7f2b", "#7a4fa0"];

pub(crate) fn svg(title: &str, points: &[&Point]) -> String {
    let mut lines: BTreeMap<&str, Vec<(f64, f64)>> = BTreeMap::new();
    for point in points {
        let place = (point.size as f64, point.value.max(f64::MIN_POSITIVE));
        lines.entry(&point.line).or_default().push(place);
    }
    for line in lines.values_mut() {
        line.sort_by(|a, b| a.0.total_cmp(&b.0));
    }
    let all = || lines.values().flatten();
    let across = Axis::over(all().map(|point| point.0), LEFT, WIDTH - RIGHT);
    let up = Axis::over(all().map(|point| point.1), HEIGHT - BOTTOM, TOP);
    let unit = points.first().map_or("", |point| &point.unit);

    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" \
         font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n"
    );
    svg += &text(LEFT, 20.0, "start", &format!("{title} ({unit})"));
    for value in across.decades() {
        let x = across.place(value);
        svg += &rule(x, TOP, x, HEIGHT - BOTTOM);
        svg += &text(x, HEIGHT - BOTTOM + 18.0, "middle", &label(value));
    }
    for value in up.decades() {
        let y = up.place(value);
        svg += &rule(LEFT, y, WIDTH - RIGHT, y);
        svg += &text(LEFT - 8.0, y + 4.0, "end", &label(value));
    }
    let mut names: Vec<(f64, &str, &str)> = Vec::new();
    for ((name, line), colour) in lines.iter().zip(COLOURS.iter().cycle()) {
        let places: Vec<_> = line
            .iter()
            .map(|(x, y)| (across.place(*x), up.place(*y)))
            .collect();
        let path: Vec<_> = places
            .iter()
            .map(|(x, y)| format!("{x:.1},{y:.1}"))
            .collect();
        svg += &format!(
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>\n",
            path.join(" ")
        );
        for (x, y) in &places {
            svg += &format!("<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3\" fill=\"{colour}\"/>\n");
        }
        names.push((places.last().map_or(TOP, |place| place.1), name, colour));
    }
    names.sort_by(|a, b| a.0.total_cmp(&b.0));
    let mut lowest = 0.0_f64;
    for (y, name, colour) in names {
        // Names of lines that end close together must not lie on each other.
        let y = y.max(lowest + 16.0);
        lowest = y;
        svg += &format!(
            "<text x=\"{}\" y=\"{:.1}\" fill=\"{colour}\">{name}</text>\n",
            WIDTH - RIGHT + 8.0,
            y + 4.0
        );
    }
    svg + "</svg>\n"
}

/// From the decade below the least value to the one above the greatest.
struct Axis {
    low: f64,
    high: f64,
    from: f64,
    to: f64,
}

impl Axis {
    fn over(values: impl Iterator<Item = f64> + Clone, from: f64, to: f64) -> Self {
        let least = values.clone().fold(f64::INFINITY, f64::min);
        let greatest = values.fold(f64::MIN_POSITIVE, f64::max);
        let low = least.log10().floor();
        Self {
            low,
            high: greatest.log10().ceil().max(low + 1.0),
            from,
            to,
        }
    }

    fn place(&self, value: f64) -> f64 {
        let part = (value.log10() - self.low) / (self.high - self.low);
        self.from + part * (self.to - self.from)
    }

    fn decades(&self) -> impl Iterator<Item = f64> {
        (self.low as i32..=self.high as i32).map(|power| 10_f64.powi(power))
    }
}

fn rule(x1: f64, y1: f64, x2: f64, y2: f64) -> String {
    format!(
        "<line x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\" stroke=\"#dddddd\"/>\n"
    )
}

fn text(x: f64, y: f64, anchor: &str, text: &str) -> String {
    format!(
        "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\" fill=\"#333333\">{text}</text>\n"
    )
}

fn label(value: f64) -> String {
    match value {
        ..1.0 => format!("{value}"),
        ..1_000.0 => format!("{value:.0}"),
        ..1_000_000.0 => format!("{:.0},000", value / 1_000.0),
        _ => format!("{:.0},000,000", value / 1_000_000.0),
    }
}
