//! The command line: what it lists, what it refuses, and with which exit code.

use std::{collections::BTreeSet, fs, path::Path, process::Output};

use crate::support::Service;

#[track_caller]
fn leaklab(arguments: &[&str], environment: &[(&str, &str)]) -> Output {
    crate::support::serve::leaklab()
        .args(arguments)
        .envs(environment.iter().copied())
        .output()
        .expect("the binary starts")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Names of environment variables in quotes in the sources under `dir`: those that are read.
fn variables_in(dir: &Path, found: &mut BTreeSet<String>) {
    for entry in fs::read_dir(dir).expect("a folder").flatten() {
        let path = entry.path();
        if path.is_dir() {
            variables_in(&path, found);
            continue;
        }
        let source = fs::read_to_string(&path).unwrap_or_default();
        let names = source.split('"').filter(|word| {
            let ours = word.starts_with("LEAKLAB_") || word.starts_with("OTEL_") || *word == "RUST_LOG";
            ours && word.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_')
        });
        found.extend(names.map(str::to_owned));
    }
}

#[test]
fn help_lists_every_variable_that_is_read() {
    let mut read = BTreeSet::new();
    variables_in(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut read);
    // Between the lab and its child; not for users.
    assert!(read.remove("LEAKLAB_SUPERVISED"));
    assert!(read.len() > 10, "{read:?}");
    for command in [&["--help"][..], &["lab", "--help"], &["serve", "--help"], &["-h"]] {
        let help = leaklab(command, &[]);
        assert!(help.status.success());
        let help = text(&help.stdout);
        for name in &read {
            let only_lab = name == "LEAKLAB_ENFORCER" && command[0] == "serve";
            assert!(only_lab || help.contains(name.as_str()), "{command:?} does not list {name}:\n{help}");
        }
    }
}

#[test]
fn help_lists_every_setting_with_its_default() {
    let help = text(&leaklab(&["--help"], &[]).stdout);
    // As fixed in the documentation.
    for (flag, default) in [
        ("--listen", "127.0.0.1:8080"),
        ("--limit", "256MiB"),
        ("--work-ms", "10"),
        ("--data-dir", ".leaklab"),
        ("--log-format", "auto"),
        ("--enforce", "auto"),
    ] {
        let entry = help.split(flag).nth(1).unwrap_or_else(|| panic!("{flag} is missing:\n{help}"));
        let entry = entry.split("\n      --").next().unwrap_or_default();
        let entry = entry.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(entry.contains(&format!("[default: {default}]")), "{flag}: {entry}");
    }
}

#[test]
fn all_bad_values_are_reported_at_once_whether_typed_or_from_the_environment() {
    let refused = leaklab(
        &["--limit", "lots", "--enforce", "police"],
        &[("LEAKLAB_LISTEN", "nowhere"), ("LEAKLAB_WORK_MS", "-1"), ("LEAKLAB_LEAKS", "unicorn")],
    );
    assert_eq!(refused.status.code(), Some(64));
    let said = text(&refused.stderr);
    for name in ["--limit", "--enforce", "LEAKLAB_LISTEN", "LEAKLAB_WORK_MS", "LEAKLAB_LEAKS"] {
        assert!(
            said.lines().any(|line| line.starts_with("error: ") && line.contains(name)),
            "{name}: {said}"
        );
    }
    assert_eq!(said.lines().count(), 5, "{said}");

    let refused = leaklab(&["load", "--url", "http://example.com/", "--rate", "fast"], &[]);
    assert_eq!(refused.status.code(), Some(64));
    assert_eq!(text(&refused.stderr).lines().count(), 2);
    assert_eq!(leaklab(&["serve", "--no-such-flag"], &[]).status.code(), Some(64));
    assert_eq!(leaklab(&["unicorn"], &[]).status.code(), Some(64));
}

#[test]
fn healthcheck_finds_the_service_by_the_same_setting() {
    let service = Service::start(&[]);
    let address = service.url.trim_start_matches("http://");
    assert!(leaklab(&["healthcheck"], &[("LEAKLAB_LISTEN", address)]).status.success());
    assert!(leaklab(&["healthcheck", "--url", &format!("{}/livez", service.url)], &[]).status.success());
    let missing = leaklab(&["healthcheck", "--url", &format!("{}/nothing", service.url)], &[]);
    assert_eq!(missing.status.code(), Some(1));
    assert!(text(&missing.stderr).contains("404"));
}

#[test]
#[cfg(target_os = "linux")]
fn the_service_keeps_its_own_code_in_memory() {
    let service = Service::start(&[]);
    let about = |what| fs::read_to_string(format!("/proc/{}/{what}", service.pid())).expect("it runs");
    // `lo` among a mapping's flags: its pages are locked (proc_pid_smaps(5)).
    let maps = about("smaps");
    let mut code = maps.lines().skip_while(|line| !(line.contains(" r-xp ") && line.ends_with("/leaklab")));
    let number = |line: &str| line.split_whitespace().find_map(|word| word.parse::<u64>().ok());
    let code_kib = code.by_ref().find(|line| line.starts_with("Size:")).and_then(number).expect("its size");
    let flags = code.find(|line| line.starts_with("VmFlags:")).expect("its flags");
    let locked = flags.split(' ').any(|flag| flag == "lo");
    // None: unlimited.
    let limit = about("limits").lines().find(|line| line.starts_with("Max locked memory")).and_then(number);
    let may = limit.is_none_or(|bytes| bytes >= 1024 * code_kib);
    let said = service.log().iter().any(|line| line.contains("ulimit -l"));
    assert!(locked || (said && !may), "{flags}, may: {may}, and it said that it may not: {said}");
    assert!(!(locked && said), "it says what is not so");
}
