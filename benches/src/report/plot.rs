//! How are figures drawn?

use std::path::Path;

use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use crate::error::{Error, Result};

/// A picture, and the name of its file.
pub(crate) struct Plot {
    pub(crate) file: String,
    pub(crate) title: String,
    pub(crate) kind: Kind,
}

pub(crate) enum Kind {
    /// A horizontal bar per row, grouped, with the value written behind it. A line marks where the value is 1, if it is a ratio.
    Bars { series: Vec<String>, rows: Vec<(String, Vec<Option<f64>>)>, ratio: bool },
    /// A curve per series over a logarithmic axis.
    Lines { x: String, y: String, series: Vec<(String, Vec<(f64, f64)>)> },
}

impl Kind {
    /// Throughput against the number of threads.
    pub(crate) fn over_threads(series: impl Iterator<Item = (String, Vec<(f64, f64)>)>) -> Self {
        Self::Lines { x: "threads".into(), y: "transactions per second".into(), series: series.collect() }
    }
}

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Drawn = std::result::Result<(), Box<dyn std::error::Error>>;

const WIDTH: u32 = 900;
const BAR: u32 = 16;
/// Room for the names.
const MARGIN: i32 = 260;

impl Plot {
    pub(crate) fn draw(&self, folder: &Path) -> Result<()> {
        let file = folder.join(&self.file);
        let height = match &self.kind {
            Kind::Bars { series, rows, .. } => 60 + rows.len() as u32 * (series.len() as u32 * BAR + 8) + 24 * u32::from(series.len() > 1),
            Kind::Lines { .. } => 520,
        };
        let area = SVGBackend::new(&file, (WIDTH, height)).into_drawing_area();
        let drawn = area.fill(&WHITE).map_err(Into::into).and_then(|()| match &self.kind {
            Kind::Bars { series, rows, ratio } => bars(&area, &self.title, series, rows, *ratio),
            Kind::Lines { x, y, series } => lines(&area, &self.title, x, y, series),
        });
        drawn.and_then(|()| Ok(area.present()?)).map_err(|error| Error::Plot { file: file.display().to_string(), cause: error.to_string() })
    }
}

fn bars(area: &Area<'_>, title: &str, series: &[String], rows: &[(String, Vec<Option<f64>>)], ratio: bool) -> Drawn {
    let text = ("sans-serif", 13).into_font().color(&BLACK);
    let right = text.pos(Pos::new(HPos::Right, VPos::Center));
    let left = text.pos(Pos::new(HPos::Left, VPos::Center));
    area.draw(&Text::new(title, (10, 10), ("sans-serif", 17)))?;
    let longest = rows.iter().flat_map(|(_, values)| values.iter().flatten()).copied().fold(f64::MIN_POSITIVE, f64::max);
    let scale = f64::from(WIDTH as i32 - MARGIN - 70) / longest;
    let mut y = 44;
    if series.len() > 1 {
        let mut x = MARGIN;
        for (number, name) in series.iter().enumerate() {
            area.draw(&Rectangle::new([(x, y), (x + 12, y + 12)], Palette99::pick(number).filled()))?;
            area.draw(&Text::new(name.as_str(), (x + 18, y + 6), left.clone()))?;
            x += 40 + 8 * name.chars().count() as i32;
        }
        y += 24;
    }
    let top = y;
    for (name, values) in rows {
        let height = BAR as i32 * values.len() as i32;
        area.draw(&Text::new(name.as_str(), (MARGIN - 8, y + height / 2), right.clone()))?;
        for (number, value) in values.iter().enumerate() {
            let y = y + BAR as i32 * number as i32;
            let Some(value) = value else { continue };
            let end = MARGIN + (value * scale) as i32;
            area.draw(&Rectangle::new([(MARGIN, y + 1), (end, y + BAR as i32 - 2)], Palette99::pick(number).filled()))?;
            area.draw(&Text::new(short(*value), (end + 5, y + BAR as i32 / 2), left.clone()))?;
        }
        y += height + 8;
    }
    if ratio {
        let one = MARGIN + scale as i32;
        area.draw(&PathElement::new([(one, top - 4), (one, y)], BLACK.mix(0.5)))?;
    }
    Ok(())
}

fn lines(area: &Area<'_>, title: &str, x: &str, y: &str, series: &[(String, Vec<(f64, f64)>)]) -> Drawn {
    let points = || series.iter().flat_map(|(_, points)| points.iter().copied());
    let (first, last) = points().fold((f64::MAX, 1.0_f64), |(low, high), (x, _)| (low.min(x), high.max(x)));
    let most = points().fold(0.0_f64, |most, (_, y)| most.max(y));
    let mut chart = ChartBuilder::on(area)
        .caption(title, ("sans-serif", 17))
        .margin(12)
        .margin_right(MARGIN)
        .x_label_area_size(40)
        .y_label_area_size(70)
        .build_cartesian_2d((first..last * 1.05).log_scale().base(2.0), 0.0..most * 1.1)?;
    chart
        .configure_mesh()
        .x_desc(x)
        .y_desc(y)
        .x_label_formatter(&|x| format!("{x:.0}"))
        .y_label_formatter(&|y| format!("{y:.0}"))
        .draw()?;
    let left = ("sans-serif", 13).into_font().color(&BLACK).pos(Pos::new(HPos::Left, VPos::Center));
    let (x, mut y) = (WIDTH as i32 - MARGIN + 16, 60);
    for (number, (name, points)) in series.iter().enumerate() {
        let style = Palette99::pick(number).stroke_width(2);
        chart.draw_series(LineSeries::new(points.iter().copied(), style).point_size(3))?;
        area.draw(&PathElement::new([(x, y), (x + 18, y)], style))?;
        area.draw(&Text::new(name.as_str(), (x + 26, y), left.clone()))?;
        y += 20;
    }
    Ok(())
}

fn short(value: f64) -> String {
    match value.abs() {
        100.0.. => format!("{value:.0}"),
        10.0.. => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}
