//! Every setting of the service: its flag, its environment name, its default and its unit.
//!
//! Values are taken as text and judged together, so that all bad ones are reported at once.

use std::{fmt, net::SocketAddr, path::PathBuf, time::Duration};

use clap::Args;

use crate::leaks::{self, Variant};

/// The settings as typed: text, not judged yet. Flags win over the environment.
#[derive(Debug, Clone, Args)]
pub struct RawSettings {
    /// Address and port to listen on
    #[arg(long, env = "LEAKLAB_LISTEN", value_name = "ADDR:PORT", default_value = "127.0.0.1:8080")]
    pub listen: String,

    /// Memory limit of the service, in bytes or with a unit (KiB, MiB, GiB); at least 32MiB
    #[arg(long, env = "LEAKLAB_LIMIT", value_name = "SIZE", default_value = "256MiB")]
    pub limit: String,

    /// Simulated work of one request, in milliseconds (0 to 60000)
    #[arg(long, env = "LEAKLAB_WORK_MS", value_name = "MS", default_value = "10")]
    pub work_ms: String,

    /// Folder for what outlives the process
    #[arg(long, env = "LEAKLAB_DATA_DIR", value_name = "DIR", default_value = ".leaklab")]
    pub data_dir: String,

    /// Leaks that are on from the start, separated by commas (`cache,history`, or with a variant: `cache:fixed`, `cache:mine`); a crash loop on purpose
    #[arg(long, env = "LEAKLAB_LEAKS", value_name = "NAMES", default_value = "", hide_default_value = true)]
    pub leaks: String,

    /// More host names that /admin and /debug answer to, separated by commas, through a proxy too; loopback names always work
    #[arg(
        long,
        env = "LEAKLAB_ALLOWED_HOSTS",
        value_name = "HOSTS",
        default_value = "",
        hide_default_value = true
    )]
    pub allowed_hosts: String,

    /// `text`, `json`, or `auto`: text on a terminal, JSON otherwise
    #[arg(long, env = "LEAKLAB_LOG_FORMAT", value_name = "FORMAT", default_value = "auto")]
    pub log_format: String,
}

/// The settings, judged.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where to listen; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Limit that the supervisor sets, in bytes. In a container the cgroup's limit holds instead.
    pub limit_bytes: u64,
    /// Simulated work of one request.
    pub work: Duration,
    /// Folder for what outlives the process.
    pub data_dir: PathBuf,
    /// Leaks that are on from the start.
    pub leaks: Vec<(&'static str, Variant)>,
    /// Host names beside the loopback's that /admin and /debug answer to, in lower case, without port.
    pub allowed_hosts: Vec<String>,
    /// How logs are written.
    pub log_format: LogFormat,
}

/// How logs are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// Text on a terminal, JSON otherwise.
    Auto,
    /// For people.
    Text,
    /// For machines, one object a line.
    Json,
}

/// Every setting that could not be used, each with what was wrong and what would be right.
#[derive(Debug, PartialEq, Eq)]
pub struct BadSettings(pub Vec<String>);

impl fmt::Display for BadSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in &self.0 {
            writeln!(f, "error: {line}")?;
        }
        Ok(())
    }
}

impl std::error::Error for BadSettings {}

/// Smallest limit under which the service itself can run.
const MIN_LIMIT_BYTES: u64 = 32 << 20;
const MAX_WORK_MS: u64 = 60_000;

impl RawSettings {
    /// Judges every value.
    ///
    /// # Errors
    /// All bad values, not only the first.
    pub fn judge(&self) -> Result<Settings, BadSettings> {
        let mut bad = Vec::new();
        let settings = Settings {
            listen: collect(&mut bad, parse_listen(&self.listen))
                .unwrap_or(SocketAddr::from(([127, 0, 0, 1], 0))),
            limit_bytes: collect(&mut bad, parse_limit(&self.limit)).unwrap_or_default(),
            work: collect(&mut bad, parse_work(&self.work_ms)).unwrap_or_default(),
            data_dir: collect(&mut bad, parse_data_dir(&self.data_dir)).unwrap_or_default(),
            leaks: collect(&mut bad, parse_leaks(&self.leaks)).unwrap_or_default(),
            allowed_hosts: collect(&mut bad, parse_hosts(&self.allowed_hosts)).unwrap_or_default(),
            log_format: collect(&mut bad, parse_log_format(&self.log_format)).unwrap_or(LogFormat::Auto),
        };
        if bad.is_empty() { Ok(settings) } else { Err(BadSettings(bad)) }
    }
}

fn collect<T>(bad: &mut Vec<String>, parsed: Result<T, String>) -> Option<T> {
    parsed.map_err(|error| bad.push(error)).ok()
}

fn names(list: &str) -> impl Iterator<Item = &str> {
    list.split(',').map(str::trim).filter(|name| !name.is_empty())
}

/// `127.0.0.1:8080`, `localhost:8080`, `[::1]:8080`.
///
/// # Errors
/// What was wrong and what would be right.
pub fn parse_listen(text: &str) -> Result<SocketAddr, String> {
    text.replace("localhost:", "127.0.0.1:").parse().map_err(|_| {
        format!(
            "--listen (LEAKLAB_LISTEN) is {text:?}; it wants an address and a port, such as 127.0.0.1:8080"
        )
    })
}

fn parse_limit(text: &str) -> Result<u64, String> {
    let bytes = parse_size(text).ok_or_else(|| {
        format!("--limit (LEAKLAB_LIMIT) is {text:?}; it wants bytes or a size with a unit, such as 256MiB")
    })?;
    if bytes < MIN_LIMIT_BYTES {
        return Err(format!("--limit (LEAKLAB_LIMIT) is {text:?}; the service itself needs at least 32MiB"));
    }
    Ok(bytes)
}

/// `268435456`, `256MiB`, `256m`, `1.5GiB`; KB, MB and GB are powers of ten. `None`: not a size.
pub fn parse_size(text: &str) -> Option<u64> {
    let text = text.trim();
    let unit_at = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(unit_at);
    let factor: f64 = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1.0,
        "k" | "kib" => 1024.0,
        "m" | "mib" => 1024.0 * 1024.0,
        "g" | "gib" => 1024.0 * 1024.0 * 1024.0,
        "kb" => 1e3,
        "mb" => 1e6,
        "gb" => 1e9,
        _ => return None,
    };
    let bytes = number.parse::<f64>().ok()? * factor;
    (bytes.is_finite() && bytes < (1_u64 << 50) as f64).then_some(bytes as u64)
}

fn parse_work(text: &str) -> Result<Duration, String> {
    match text.trim().parse::<u64>() {
        Ok(ms) if ms <= MAX_WORK_MS => Ok(Duration::from_millis(ms)),
        _ => Err(format!(
            "--work-ms (LEAKLAB_WORK_MS) is {text:?}; it wants whole milliseconds from 0 to {MAX_WORK_MS}"
        )),
    }
}

fn parse_data_dir(text: &str) -> Result<PathBuf, String> {
    if text.trim().is_empty() {
        return Err("--data-dir (LEAKLAB_DATA_DIR) is empty; it wants a folder, such as .leaklab".into());
    }
    Ok(PathBuf::from(text))
}

fn parse_leaks(text: &str) -> Result<Vec<(&'static str, Variant)>, String> {
    names(text).map(parse_leak).collect::<Result<_, _>>().map_err(|word| {
        format!(
            "--leaks (LEAKLAB_LEAKS) has {word:?}; it wants names out of {}, each with an optional variant ({}), such as cache,history:fixed",
            leaks::NAMES.join(", "),
            Variant::NAMES.join(", ")
        )
    })
}

fn parse_leak(word: &str) -> Result<(&'static str, Variant), &str> {
    let (name, variant) = word.split_once(':').unwrap_or((word, Variant::Leaky.name()));
    let name = leaks::NAMES.iter().find(|known| **known == name).ok_or(word)?;
    Ok((name, Variant::parse(variant).ok_or(word)?))
}

fn parse_hosts(text: &str) -> Result<Vec<String>, String> {
    names(text)
        .map(|host| {
            let fits = host.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._:[]".contains(&b));
            fits.then(|| host.to_ascii_lowercase()).ok_or_else(|| {
                format!("--allowed-hosts (LEAKLAB_ALLOWED_HOSTS) has {host:?}; it wants host names without scheme, port or path, such as lab.example")
            })
        })
        .collect()
}

fn parse_log_format(text: &str) -> Result<LogFormat, String> {
    match text.trim() {
        "auto" => Ok(LogFormat::Auto),
        "text" => Ok(LogFormat::Text),
        "json" => Ok(LogFormat::Json),
        _ => Err(format!("--log-format (LEAKLAB_LOG_FORMAT) is {text:?}; it wants auto, text or json")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw() -> RawSettings {
        RawSettings {
            listen: "127.0.0.1:8080".into(),
            limit: "256MiB".into(),
            work_ms: "10".into(),
            data_dir: ".leaklab".into(),
            leaks: String::new(),
            allowed_hosts: String::new(),
            log_format: "auto".into(),
        }
    }

    #[test]
    fn sizes_are_read_in_the_units_people_type() {
        assert_eq!(parse_size("268435456"), Some(256 << 20));
        assert_eq!(parse_size("256MiB"), Some(256 << 20));
        assert_eq!(parse_size("256m"), Some(256 << 20));
        assert_eq!(parse_size("1.5 GiB"), Some(3 << 29));
        assert_eq!(parse_size("1MB"), Some(1_000_000));
        for wrong in ["", "MiB", "12 apples", "-1", "1e99GiB", "..", "nan"] {
            assert_eq!(parse_size(wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn all_bad_values_are_reported_at_once() {
        let bad = RawSettings {
            listen: "8080".into(),
            limit: "1MiB".into(),
            work_ms: "ten".into(),
            data_dir: " ".into(),
            leaks: "cache,unicorn".into(),
            allowed_hosts: "http://x".into(),
            log_format: "xml".into(),
        };
        let BadSettings(lines) = bad.judge().expect_err("every value is bad");
        assert_eq!(lines.len(), 7, "{lines:#?}");
        for (line, flag) in lines.iter().zip([
            "--listen (LEAKLAB_LISTEN)",
            "--limit (LEAKLAB_LIMIT)",
            "--work-ms (LEAKLAB_WORK_MS)",
            "--data-dir (LEAKLAB_DATA_DIR)",
            "--leaks (LEAKLAB_LEAKS)",
            "--allowed-hosts (LEAKLAB_ALLOWED_HOSTS)",
            "--log-format (LEAKLAB_LOG_FORMAT)",
        ]) {
            assert!(line.starts_with(flag), "{line}");
        }
    }

    #[test]
    fn leaks_take_an_optional_variant() {
        let settings = RawSettings { leaks: "cache, history:fixed, listeners:mine".into(), ..raw() }
            .judge()
            .expect("both are known");
        assert_eq!(
            settings.leaks,
            [("cache", Variant::Leaky), ("history", Variant::Fixed), ("listeners", Variant::Mine)]
        );
    }
}
