//! `leaklab diff`: what grew between two saved heap profiles, without the service that they come from.

use std::{
    fmt,
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::{Args, ValueEnum};
use indicatif::{BinaryBytes, HumanCount};
use leakscope::heap::{self, By, Growth, Snapshot};

use super::{DATA, Failure};

/// Arguments of `leaklab diff`.
#[derive(Debug, Args)]
pub struct Arguments {
    /// The earlier profile, as `curl -o a.pb.gz http://127.0.0.1:8080/debug/pprof/heap` saves it, or as the flight recorder
    /// does (recorder/*.heap in the data folder)
    base: PathBuf,

    /// The later profile
    now: PathBuf,

    /// What to group by
    #[arg(long, value_enum, default_value = "line")]
    by: Grouping,

    /// Places shown at most
    #[arg(long, value_name = "N", default_value_t = 20)]
    limit: usize,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Grouping {
    Line,
    Function,
    File,
    Stack,
}

impl From<Grouping> for By {
    fn from(grouping: Grouping) -> Self {
        match grouping {
            Grouping::Line => Self::Line,
            Grouping::Function => Self::Function,
            Grouping::File => Self::File,
            Grouping::Stack => Self::Stack,
        }
    }
}

/// Compares, and prints what grew.
pub fn run(arguments: &Arguments) -> Result<ExitCode, Failure> {
    let (base, now) = (read(&arguments.base)?, read(&arguments.now)?);
    let growing = heap::growing(&base, &now, arguments.by.into(), arguments.limit);
    print!("{}", Report { base: &base, now: &now, growing: &growing });
    Ok(ExitCode::SUCCESS)
}

fn read(path: &Path) -> Result<Snapshot, Failure> {
    heap::read_saved(path).map_err(|error| Failure {
        message: format!(
            "{error}; it wants a profile saved with `curl -o {} http://127.0.0.1:8080/debug/pprof/heap`, or one \
             (*.heap) that this build's flight recorder wrote",
            path.display()
        ),
        code: DATA,
    })
}

struct Report<'a> {
    base: &'a Snapshot,
    now: &'a Snapshot,
    growing: &'a [Growth],
}

impl fmt::Display for Report<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (was, is) = (self.base.total_bytes, self.now.total_bytes);
        let sign = if is < was { '-' } else { '+' };
        write!(
            f,
            "live heap {} -> {} ({sign}{})",
            BinaryBytes(was),
            BinaryBytes(is),
            BinaryBytes(was.abs_diff(is))
        )?;
        match self.now.taken_at.duration_since(self.base.taken_at) {
            Ok(between) => writeln!(f, " in {:.1} s", between.as_secs_f64())?,
            Err(_) => writeln!(f, ", the first profile being the later one")?,
        }
        if self.growing.is_empty() {
            return writeln!(f, "nothing grew by more than chance explains");
        }
        writeln!(f, "{:>12} {:>12} {:>12}  place", "grew by", "+-", "allocations")?;
        for Growth { site, bytes_diff, bytes_diff_error, count_diff, .. } in self.growing {
            let count_sign = if *count_diff < 0 { "-" } else { "" };
            writeln!(
                f,
                "{:>12} {:>12} {:>12}  {}  {}",
                BinaryBytes(bytes_diff.unsigned_abs()).to_string(),
                BinaryBytes(*bytes_diff_error).to_string(),
                format!("{count_sign}{}", HumanCount(count_diff.unsigned_abs())),
                site.location,
                site.function
            )?;
            for frame in &site.stack {
                writeln!(f, "{:>40}{}  {}", "", frame.function, frame.location)?;
            }
        }
        Ok(())
    }
}
