//! The plots of the docs, as SVG.

use std::path::Path;

use anyhow::{Context as _, Result, anyhow};
use plotters::prelude::*;

const SIZE: (u32, u32) = (1000, 520);
const FONT: &str = "sans-serif";
const SMALL: u32 = 13;
const LARGE: u32 = 18;
const COLORS: [RGBColor; 6] = [
    RGBColor(0x1b, 0x7f, 0x4d),
    RGBColor(0x6c, 0xc1, 0x8f),
    RGBColor(0xc8, 0x50, 0x3c),
    RGBColor(0xe5, 0x9a, 0x7c),
    RGBColor(0x3c, 0x6e, 0xb4),
    RGBColor(0x8a, 0x8a, 0x8a),
];

#[derive(Debug)]
pub(crate) struct Series {
    pub(crate) name: &'static str,
    pub(crate) points: Vec<(f64, f64)>,
}

/// Values side by side, one of each series.
#[derive(Debug)]
pub(crate) struct Group {
    pub(crate) name: &'static str,
    pub(crate) values: Vec<Option<f64>>,
}

/// Both axes logarithmic.
pub(crate) fn lines(path: &Path, title: &str, all: &[Series]) -> Result<()> {
    draw(path, |root| {
        let points = || all.iter().flat_map(|series| &series.points);
        let most = |pick: fn(&(f64, f64)) -> f64| points().map(pick).fold(1.0, f64::max) * 1.5;
        let (widest, highest) = (most(|it| it.0), most(|it| it.1));
        let mut chart = ChartBuilder::on(root)
            .caption(title, (FONT, LARGE))
            .margin(12)
            .x_label_area_size(30)
            .y_label_area_size(60)
            .build_cartesian_2d((0.9..widest).log_scale(), (0.01..highest).log_scale())?;
        chart.configure_mesh().label_style((FONT, SMALL)).draw()?;
        for (series, color) in all.iter().zip(COLORS) {
            let points = series.points.iter().map(|(x, y)| (*x, y.max(0.01)));
            let points: Vec<(f64, f64)> = points.collect();
            chart
                .draw_series(LineSeries::new(points.clone(), color.stroke_width(2)))?
                .label(series.name)
                .legend(move |(x, y)| {
                    Rectangle::new([(x, y - 5), (x + 12, y + 5)], color.filled())
                });
            chart.draw_series(points.into_iter().map(|it| Circle::new(it, 3, color.filled())))?;
        }
        let mut labels = chart.configure_series_labels();
        labels.label_font((FONT, SMALL)).background_style(WHITE).border_style(BLACK);
        Ok(labels.position(SeriesLabelPosition::UpperLeft).draw()?)
    })
}

/// The names of the groups stand below the first bar of each, slanted by lines
/// of their own.
pub(crate) fn bars(path: &Path, title: &str, names: &[&str], groups: &[Group]) -> Result<()> {
    draw(path, |root| {
        let values = || groups.iter().flat_map(|group| group.values.iter().flatten());
        let highest = values().copied().fold(1.0, f64::max) * 1.25;
        let mut chart = ChartBuilder::on(root)
            .caption(title, (FONT, LARGE))
            .margin(12)
            .x_label_area_size(60)
            .y_label_area_size(60)
            .build_cartesian_2d(0.0..groups.len() as f64, 0.0..highest)?;
        chart
            .configure_mesh()
            .disable_x_mesh()
            .disable_x_axis()
            .label_style((FONT, SMALL))
            .draw()?;
        for (place, (name, color)) in names.iter().zip(COLORS).enumerate() {
            let width = 0.85 / names.len() as f64;
            let bar = |(number, group): (usize, &Group)| {
                let left = number as f64 + 0.07 + place as f64 * width;
                let value = group.values.get(place).copied().flatten()?;
                Some(Rectangle::new([(left, 0.0), (left + width * 0.9, value)], color.filled()))
            };
            chart.draw_series(groups.iter().enumerate().filter_map(bar))?.label(*name).legend(
                move |(x, y)| Rectangle::new([(x, y - 5), (x + 12, y + 5)], color.filled()),
            );
        }
        let mut labels = chart.configure_series_labels();
        labels.label_font((FONT, SMALL)).background_style(WHITE).border_style(BLACK);
        labels.position(SeriesLabelPosition::UpperRight).draw()?;
        let (left, width) = (72, (SIZE.0 - 96) / groups.len().max(1) as u32);
        for (number, group) in (0..).zip(groups) {
            let at = i32::try_from(left + number * width)?;
            // Neighbours on lines of their own do not run into each other.
            let line = i32::try_from(SIZE.1 - 66 + number % 3 * 18)?;
            root.draw(&Text::new(group.name, (at, line), (FONT, SMALL)))?;
        }
        Ok(())
    })
}

type Root<'a> = DrawingArea<SVGBackend<'a>, plotters::coord::Shift>;

fn draw(path: &Path, onto: impl FnOnce(&Root<'_>) -> Result<()>) -> Result<()> {
    let root = SVGBackend::new(path, SIZE).into_drawing_area();
    root.fill(&WHITE).map_err(|error| anyhow!("{error}"))?;
    onto(&root)?;
    root.present().with_context(|| format!("cannot write {}", path.display()))
}
