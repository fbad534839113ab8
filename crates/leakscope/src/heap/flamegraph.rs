//! Snapshots as flame graphs: which calls lead to what is held, each as wide as it holds, in one SVG that any browser
//! shows.
//!
//! The frames that allocate for everyone (allocator, standard library) are left out at the inner end, as pprof's
//! `drop_frames` leaves them out: the tip of a flame is the code that asked.

use std::collections::BTreeMap;

use inferno::flamegraph::{self, Options, color::Palette};

use super::{
    Error, Snapshot,
    frame::{Frame, Owner},
    symbolize::Trace,
};

impl Snapshot {
    /// Live bytes as a flame graph in SVG.
    ///
    /// # Errors
    /// [`Error::Failed`] where nothing is held.
    pub fn to_flamegraph(&self) -> Result<String, Error> {
        let mut held: BTreeMap<String, u64> = BTreeMap::new();
        for stack in &self.stacks {
            *held.entry(folded(&stack.trace)).or_default() += stack.live.bytes.round() as u64;
        }
        let mut options = options("Live heap by allocation stack", format!("{} bytes", self.total_bytes));
        options.colors = Palette::Basic(flamegraph::color::BasicPalette::Mem);
        draw(&mut options, held.iter().map(|(stack, bytes)| format!("{stack} {bytes}")))
    }

    /// The same, coloured by what changed since `base`: red grew, blue shrank. Stacks that hold nothing any more have no
    /// width.
    ///
    /// # Errors
    /// [`Error::Failed`] where nothing is held.
    pub fn growth_to_flamegraph(&self, base: &Self) -> Result<String, Error> {
        let mut held: BTreeMap<String, (u64, u64)> = BTreeMap::new();
        for stack in &base.stacks {
            held.entry(folded(&stack.trace)).or_default().0 += stack.live.bytes.round() as u64;
        }
        for stack in &self.stacks {
            held.entry(folded(&stack.trace)).or_default().1 += stack.live.bytes.round() as u64;
        }
        let growth = i128::from(self.total_bytes) - i128::from(base.total_bytes);
        let about =
            format!("{} bytes, {growth:+} since the baseline: red grew, blue shrank", self.total_bytes);
        let mut options = options("Live heap by allocation stack, and what changed", about);
        draw(&mut options, held.iter().map(|(stack, (was, is))| format!("{stack} {was} {is}")))
    }
}

fn options(title: &str, about: String) -> Options<'static> {
    let mut options = Options::default();
    options.title = title.to_owned();
    options.subtitle = Some(about);
    options.count_name = "bytes".to_owned();
    options.deterministic = true;
    options
}

/// `lines` are sorted and hold a stack and its figures each.
fn draw(options: &mut Options<'_>, lines: impl Iterator<Item = String>) -> Result<String, Error> {
    let lines: Vec<String> = lines.collect();
    let mut svg = Vec::new();
    let drawn = flamegraph::from_lines(options, lines.iter().map(String::as_str), &mut svg);
    drawn.map_err(|error| Error::Failed(format!("no flame graph: {error}")))?;
    String::from_utf8(svg).map_err(|error| Error::Failed(format!("no flame graph: {error}")))
}

/// A stack in one line, outermost first, without what allocates for everyone at its inner end.
fn folded(trace: &Trace) -> String {
    let frames: Vec<&Frame> = trace.frames().collect();
    let asking = frames.iter().position(|frame| frame.owner != Owner::Runtime);
    let asking = asking.or_else(|| frames.iter().position(|frame| **frame == trace.site)).unwrap_or(0);
    let names: Vec<String> = frames[asking..].iter().rev().map(|frame| label(frame)).collect();
    names.join(";")
}

/// The application's own frames with their line: there one wants to look.
fn label(frame: &Frame) -> String {
    let function = frame.function.replace(';', ","); // it parts frames; in Rust's names it stands in `[u8; 4]`
    match frame.position() {
        Some(position) if frame.owner == Owner::Application => format!("{function} {position}"),
        _ => function,
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, time::UNIX_EPOCH};

    use super::*;
    use crate::heap::{estimate::Estimate, snapshot::Stack};

    fn frame(function: &str, owner: Owner) -> Frame {
        Frame { function: function.into(), file: "src/shop.rs".into(), line: 7, owner }
    }

    /// 1 MiB each, so that each sample stands for itself.
    fn snapshot(stacks: &[(&str, u64)]) -> Snapshot {
        let stack = |&(function, samples): &(&str, u64)| {
            let frames = [
                frame("malloc", Owner::Runtime),
                frame(function, Owner::Application),
                frame("tokio::run<[u8; 4]>", Owner::Dependency),
            ];
            let site = frames[1].clone();
            let address = function.bytes().map(u64::from).sum();
            let trace = Trace { addresses: [address].into(), frames: [Arc::from(frames)].into(), site };
            Stack {
                trace: Arc::new(trace),
                live: Estimate::new(samples, samples << 20, 1 << 16),
                taken: None,
            }
        };
        Snapshot::new(UNIX_EPOCH, 1 << 16, stacks.iter().map(stack).collect(), Vec::new())
    }

    #[test]
    fn draws_who_asked_and_not_who_allocates() {
        let svg = snapshot(&[("shop::store", 3), ("shop::index", 1)]).to_flamegraph().unwrap();
        for shows in [
            "tokio::run&lt;[u8, 4]&gt; (4,194,304 bytes, 100.00%)",
            "shop::store src/shop.rs:7 (3,145,728 bytes, 75.00%)",
            "shop::index src/shop.rs:7 (1,048,576 bytes, 25.00%)",
        ] {
            assert!(svg.contains(shows), "{shows} is not in {svg}");
        }
        assert!(!svg.contains("malloc"), "{svg}");
    }

    #[test]
    fn draws_what_changed() {
        let (base, now) = (
            snapshot(&[("shop::store", 1), ("shop::index", 2)]),
            snapshot(&[("shop::store", 3), ("shop::index", 1)]),
        );
        let svg = now.growth_to_flamegraph(&base).unwrap();
        for shows in ["75.00%; +50.00%)", "25.00%; -25.00%)", "+1048576 since the baseline"] {
            assert!(svg.contains(shows), "{shows} is not in {svg}");
        }
    }

    #[test]
    fn nothing_held_is_an_error() {
        let error = snapshot(&[]).to_flamegraph().unwrap_err();
        assert!(error.to_string().contains("no flame graph"), "{error}");
    }
}
