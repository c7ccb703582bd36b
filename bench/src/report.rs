//! The page: a table of ratios and plots of growth.

use std::fmt::Write as _;
use std::io;
use std::path::Path;
use std::time::Duration;

/// One measured line.
pub struct Row {
    /// What was done.
    pub what: String,
    /// Our figure, with its unit.
    pub ours: String,
    /// What it was run beside.
    pub yardstick: String,
    /// The yardstick's figure, with its unit.
    pub theirs: String,
    /// The measured relation, as the budget states it.
    pub measured: String,
    /// The budget, in words; empty where there is none.
    pub budget: String,
    /// Whether the budget is met; `None` where there is none.
    pub met: Option<bool>,
}

/// How some kinds of work grow with something.
pub struct Chart {
    name: &'static str,
    title: &'static str,
    about: &'static str,
    curves: Vec<Curve>,
}

struct Curve {
    what: &'static str,
    points: Vec<(u64, Duration)>,
}

impl Chart {
    /// An empty one; `name` is that of its file, `about` says what is measured by what, `curves` are the works.
    pub fn new(
        name: &'static str,
        title: &'static str,
        about: &'static str,
        curves: &[&'static str],
    ) -> Chart {
        let curve = |what: &&'static str| Curve {
            what,
            points: Vec::new(),
        };
        Chart {
            name,
            title,
            about,
            curves: curves.iter().map(curve).collect(),
        }
    }

    /// Adds what was measured at `count` to a curve, which is counted from 0.
    pub fn point(&mut self, curve: usize, count: u64, time: Duration) {
        let curve = &mut self.curves[curve];
        eprintln!("{}, {count}: {}", curve.what, show(time));
        curve.points.push((count, time));
    }

    /// The points of a curve so far.
    pub fn points(&self, curve: usize) -> &[(u64, Duration)] {
        &self.curves[curve].points
    }
}

/// All that was measured.
#[derive(Default)]
pub struct Report {
    rows: Vec<Row>,
    charts: Vec<Chart>,
    notes: Vec<String>,
}

impl Report {
    /// Adds a line.
    pub fn row(&mut self, row: Row) {
        let beside = if row.yardstick.is_empty() {
            String::new()
        } else {
            format!(" beside {} {}", row.yardstick, row.theirs)
        };
        eprintln!("{}: {}{beside}: {}", row.what, row.ours, row.measured);
        self.rows.push(row);
    }

    /// Adds a chart.
    pub fn chart(&mut self, chart: Chart) {
        self.charts.push(chart);
    }

    /// Adds a sentence about what could not be measured.
    pub fn note(&mut self, note: impl Into<String>) {
        let note = note.into();
        eprintln!("note: {note}");
        self.notes.push(note);
    }

    /// Notes how busy the machine is.
    pub fn machine(&mut self, when: &str) {
        let processors = std::thread::available_parallelism().map_or(0, usize::from);
        let Ok(text) = std::fs::read_to_string("/proc/loadavg") else {
            return;
        };
        let load: Vec<&str> = text.split_whitespace().take(3).collect();
        self.note(format!(
            "load of the machine {when}: {} (last 1, 5 and 15 minutes) on {processors} processors",
            load.join(", ")
        ));
    }

    /// Prints the table.
    pub fn print(&self) {
        println!("{}", self.table());
        for chart in &self.charts {
            println!("## {}\n\n{}\n\n{}", chart.title, chart.about, chart.table());
        }
        for note in &self.notes {
            println!("- {note}");
        }
    }

    /// Writes `benchmarks.md` and a plot for each chart into `folder`.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn write(&self, folder: &Path) -> io::Result<()> {
        let mut page = String::from(HEAD);
        page.push_str(&self.table());
        for chart in &self.charts {
            let file = format!("benchmarks-{}.svg", chart.name);
            std::fs::write(folder.join(&file), chart.plot())?;
            let _ = write!(
                page,
                "\n## {}\n\n{}\n\n{}\n![{}]({file})\n",
                chart.title,
                chart.about,
                chart.table(),
                chart.name
            );
        }
        if !self.notes.is_empty() {
            page.push_str("\n## Notes\n\n");
            for note in &self.notes {
                let _ = writeln!(page, "- {note}");
            }
        }
        std::fs::write(folder.join("benchmarks.md"), page)
    }

    fn table(&self) -> String {
        let mut text = String::from(
            "| work | polykey | yardstick | its figure | measured | budget | met |\n| --- | --- | --- | --- | --- | --- | --- |\n",
        );
        for row in &self.rows {
            let met = row.met.map_or("", |met| if met { "yes" } else { "**no**" });
            let _ = writeln!(
                text,
                "| {} | {} | {} | {} | {} | {} | {met} |",
                row.what, row.ours, row.yardstick, row.theirs, row.measured, row.budget
            );
        }
        text
    }
}

impl Chart {
    fn table(&self) -> String {
        let mut counts: Vec<u64> = (self.curves.iter())
            .flat_map(|curve| curve.points.iter().map(|(count, _)| *count))
            .collect();
        counts.sort_unstable();
        counts.dedup();
        let mut text = String::from("| work |");
        for count in &counts {
            let _ = write!(text, " {count} |");
        }
        text.push_str("\n| --- |");
        text.push_str(&" --- |".repeat(counts.len()));
        text.push('\n');
        for curve in &self.curves {
            let _ = write!(text, "| {} |", curve.what);
            for count in &counts {
                let point = curve.points.iter().find(|(at, _)| at == count);
                let _ = write!(
                    text,
                    " {} |",
                    point.map(|(_, time)| show(*time)).unwrap_or_default()
                );
            }
            text.push('\n');
        }
        text
    }

    /// A plot with logarithmic axes: the count to the right, milliseconds upwards.
    fn plot(&self) -> String {
        const COLOURS: [&str; 6] = ["#1b6ca8", "#c0392b", "#27864a", "#8e44ad", "#b9770e", "#444444"];
        let (width, height, left, bottom) = (640.0, 360.0, 60.0, 40.0);
        let points = || self.curves.iter().flat_map(|curve| curve.points.iter());
        let log_x = |count: u64| (count.max(1) as f64).log10();
        let log_y = |time: Duration| (time.as_secs_f64() * 1e3).max(1e-3).log10();
        let (x0, x1) = bounds(points().map(|(count, _)| log_x(*count)));
        let (y0, y1) = bounds(points().map(|(_, time)| log_y(*time)));
        let to_x = |x: f64| left + (x - x0) / (x1 - x0) * (width - left - 150.0);
        let to_y = |y: f64| height - bottom - (y - y0) / (y1 - y0) * (height - bottom - 20.0);
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" font-family=\"sans-serif\" \
             font-size=\"12\">\n<rect width=\"{width}\" height=\"{height}\" fill=\"white\"/>\n"
        );
        for x in x0 as i32..=x1 as i32 {
            let at = to_x(f64::from(x));
            let _ = writeln!(
                svg,
                "<line x1=\"{at:.1}\" y1=\"20\" x2=\"{at:.1}\" y2=\"{0:.1}\" stroke=\"#ddd\"/>\
                 <text x=\"{at:.1}\" y=\"{1:.1}\" text-anchor=\"middle\">1e{x}</text>",
                height - bottom,
                height - bottom + 18.0
            );
        }
        for y in y0 as i32..=y1 as i32 {
            let at = to_y(f64::from(y));
            let _ = writeln!(
                svg,
                "<line x1=\"{left}\" y1=\"{at:.1}\" x2=\"{:.1}\" y2=\"{at:.1}\" stroke=\"#ddd\"/>\
                 <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{} ms</text>",
                to_x(x1),
                left - 6.0,
                at + 4.0,
                10f64.powi(y)
            );
        }
        for (i, curve) in self.curves.iter().enumerate() {
            let colour = COLOURS[i % COLOURS.len()];
            let line: Vec<String> = curve
                .points
                .iter()
                .map(|(count, time)| format!("{:.1},{:.1}", to_x(log_x(*count)), to_y(log_y(*time))))
                .collect();
            let _ = writeln!(
                svg,
                "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>\
                 <text x=\"{:.1}\" y=\"{}\" fill=\"{colour}\">{}</text>",
                line.join(" "),
                width - 140.0,
                36 + 18 * i,
                curve.what.replace('`', "")
            );
        }
        svg.push_str("</svg>\n");
        svg
    }
}

/// Whole decades around some logarithms, never an empty span.
fn bounds(values: impl Iterator<Item = f64>) -> (f64, f64) {
    let (low, high) = values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| {
        (low.min(v), high.max(v))
    });
    if low > high {
        return (0.0, 1.0);
    }
    (low.floor(), high.ceil().max(low.floor() + 1.0))
}

/// A time with three figures and the unit that fits.
pub fn show(time: Duration) -> String {
    let seconds = time.as_secs_f64();
    match seconds {
        s if s >= 1.0 => format!("{s:.2} s"),
        s if s >= 1e-3 => format!("{:.2} ms", s * 1e3),
        s => format!("{:.1} µs", s * 1e6),
    }
}

const HEAD: &str = "# Benchmarks

Made by `cargo run --release -p polykey-bench`; do not edit by hand. Each line is a median, run in turn with its
yardstick in the same call on one machine, and of what takes many seconds a single run; what counts is the relation, since absolute times differ from machine to
machine and from minute to minute. The budgets are those of the design.

";
