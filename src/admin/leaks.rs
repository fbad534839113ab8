//! Switches of the leaks, and what they hold.

use std::sync::Arc;

use axum::{Json, body::Body, extract::State, http::StatusCode};
use leakscope::{http::off_runtime, instrument::Profiles, recorder::Cause};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    Parts, RssAtStart,
    leak_state::{LeakState, LeakStates, Removed, held},
    permission::Permission,
    sizes::{GrowthSinceStart, Rss, Vms, two_decimals},
};
use crate::{
    http::{
        error::{self, Error, ErrorBody},
        extract::{self, Segment},
    },
    leaks::{Leak, NAMES, Registry, Variant},
    recording::{Done, Recording, leaks_on},
};

pub(super) fn routes() -> OpenApiRouter<Parts> {
    OpenApiRouter::new()
        .routes(routes!(status))
        .routes(routes!(switch))
        .routes(routes!(switch_all))
        .routes(routes!(clear))
}

/// Every leak, the memory of the process, and the end of the previous run.
#[derive(Serialize, ToSchema)]
struct LeaksStatus {
    /// Each leak by its name.
    #[schema(value_type = HashMap<String, LeakState>)]
    leaks: LeakStates,
    memory: MemoryFigures,
    /// Null before there was one.
    previous_run: Option<PreviousRun>,
}

/// The memory of the process.
#[derive(Serialize, ToSchema)]
struct MemoryFigures {
    #[serde(flatten)]
    rss: Rss,
    #[serde(flatten)]
    vms: Vms,
    #[serde(flatten)]
    growth_since_start: GrowthSinceStart,
}

/// How the previous run ended.
#[derive(Serialize, ToSchema)]
struct PreviousRun {
    /// The leaks that were on, in the form that LEAKLAB_LEAKS takes.
    #[schema(example = json!(["cache", "history:fixed"]))]
    leaks_on: Vec<String>,
    cause: Cause,
}

/// Every leak: whether it is on and what it holds; and the process's memory.
#[utoipa::path(
    get,
    path = "/admin/leaks/status",
    tag = "leaks",
    responses((status = 200, body = LeaksStatus))
)]
async fn status(
    State(profiles): State<Arc<Profiles>>,
    State(leaks): State<Arc<Registry>>,
    State(recording): State<Arc<Recording>>,
    State(rss_at_start): State<RssAtStart>,
) -> Json<LeaksStatus> {
    let report = off_runtime(&profiles, Profiles::report).await;
    let growth_bytes = report.process.rss_bytes as i64 - rss_at_start.bytes as i64;
    let previous_run = recording.history().post_mortems.first();
    Json(LeaksStatus {
        leaks: held(&leaks),
        memory: MemoryFigures {
            rss: report.process.rss_bytes.into(),
            vms: report.process.virtual_bytes.into(),
            growth_since_start: growth_bytes.into(),
        },
        previous_run: previous_run.map(|last| PreviousRun {
            leaks_on: leaks_on(last).into_iter().map(str::to_owned).collect(),
            cause: last.cause,
        }),
    })
}

const SWITCH_EXAMPLE: &str = r#"{"enabled": true}, with an optional "variant": "leaky", "fixed" or "mine""#;

/// Switches a leak.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Switch {
    /// On or off.
    #[schema(example = true)]
    enabled: bool,
    /// Which implementation to switch on: `leaky` (the default), `fixed`, or `mine`, the learner's in `exercises/`. Ignored
    /// when switching off.
    #[schema(example = "leaky")]
    variant: Option<String>,
}

impl Switch {
    async fn read(body: Body) -> Result<Self, Error> {
        let switch = extract::json(body, SWITCH_EXAMPLE).await?;
        switch.ok_or_else(|| error::bad_json("it is empty", SWITCH_EXAMPLE))
    }

    /// The variant to switch to; `None`: off.
    fn variant(&self, permission: Permission) -> Result<Option<Variant>, Error> {
        if !self.enabled {
            return Ok(None);
        }
        let name = self.variant.as_deref().unwrap_or(Variant::Leaky.name());
        let variant = Variant::parse(name).ok_or_else(|| unknown_variant(name))?;
        permission.check(variant)?;
        Ok(Some(variant))
    }
}

/// Where a switch stands now.
#[derive(Serialize, ToSchema)]
struct Switched {
    /// Name of the leak.
    #[schema(example = "cache")]
    leak: &'static str,
    enabled: bool,
    /// The variant that is on.
    variant: Option<Variant>,
    /// What the leak is about, in one sentence.
    description: &'static str,
    /// What the leak still holds, and how to clear it. Only where it is off and holds something.
    #[serde(skip_serializing_if = "Option::is_none")]
    note: Option<String>,
}

/// Where all switches stand now.
#[derive(Serialize, ToSchema)]
struct AllSwitched {
    /// Always `all`.
    #[schema(example = "all")]
    leak: &'static str,
    enabled: bool,
    /// The variant that is on.
    variant: Option<Variant>,
    /// What switching each leak alone answers.
    leaks: Vec<Switched>,
}

/// Switches one leak on or off. Switching it off keeps what it holds; /admin/leaks/clear gives that back.
#[utoipa::path(
    post,
    path = "/admin/leaks/{leak}",
    tag = "leaks",
    params(("leak" = String, Path, description = "Name of the leak", example = "cache")),
    request_body = Switch,
    responses(
        (status = 200, body = Switched),
        (status = 400, body = ErrorBody, description = "The path or the body can't be read"),
        (status = 404, body = ErrorBody, description = "No leak of that name"),
        (status = 408, body = ErrorBody, description = "The body did not come in time"),
        (status = 409, body = ErrorBody, description = "There is no memory limit"),
        (status = 413, body = ErrorBody, description = "The body is too long"),
        (status = 422, body = ErrorBody, description = "Wrong fields"),
    )
)]
async fn switch(
    State(leaks): State<Arc<Registry>>,
    State(permission): State<Permission>,
    State(recording): State<Arc<Recording>>,
    Segment(name): Segment,
    body: Body,
) -> Result<Json<Switched>, Error> {
    let leak = leaks.get(&name).ok_or_else(|| unknown(&name, &NAMES))?;
    let variant = Switch::read(body).await?.variant(permission)?;
    set(&leaks, recording, name, variant).await;
    Ok(Json(switched(leak)))
}

/// Switches all leaks on or off.
#[utoipa::path(
    post,
    path = "/admin/leaks/all",
    tag = "leaks",
    request_body = Switch,
    responses(
        (status = 200, body = AllSwitched),
        (status = 400, body = ErrorBody, description = "The path or the body can't be read"),
        (status = 408, body = ErrorBody, description = "The body did not come in time"),
        (status = 409, body = ErrorBody, description = "There is no memory limit"),
        (status = 413, body = ErrorBody, description = "The body is too long"),
        (status = 422, body = ErrorBody, description = "Wrong fields"),
    )
)]
async fn switch_all(
    State(leaks): State<Arc<Registry>>,
    State(permission): State<Permission>,
    State(recording): State<Arc<Recording>>,
    body: Body,
) -> Result<Json<AllSwitched>, Error> {
    let variant = Switch::read(body).await?.variant(permission)?;
    set(&leaks, recording, ALL.to_owned(), variant).await;
    let leaks = leaks.iter().map(switched).collect();
    Ok(Json(AllSwitched { leak: ALL, enabled: variant.is_some(), variant, leaks }))
}

fn switched(leak: &Leak) -> Switched {
    let variant = leak.variant();
    Switched {
        leak: leak.name(),
        enabled: variant.is_some(),
        variant,
        description: leak.facts().description,
        note: if variant.is_none() { what_stays(leak) } else { None },
    }
}

fn what_stays(leak: &Leak) -> Option<String> {
    let held = leak.held();
    let kept_mib = two_decimals(held.payload_bytes as f64 / f64::from(1 << 20));
    (held.entries > 0).then(|| {
        format!(
            "it still holds {} entries ({kept_mib} MiB); POST /admin/leaks/clear {{\"leak_type\": \"{}\"}} gives them back",
            held.entries,
            leak.name()
        )
    })
}

/// Switches that leak, or all, and writes it down, for the post-mortem of this run and for the labs. The reading before says
/// what the other variant did until then.
async fn set(leaks: &Arc<Registry>, recording: Arc<Recording>, name: String, variant: Option<Variant>) {
    off_runtime(leaks, move |leaks| {
        recording.read_now();
        let meant = leaks.iter().filter(|leak| name == ALL || name == leak.name());
        meant.for_each(|leak| leak.set_variant(variant));
        let variant = variant.map(|variant| variant.name().to_owned());
        recording.leaks(Done::Switch { leak: name, variant }, leaks);
    })
    .await;
}

const ALL: &str = "all";
const CLEAR_EXAMPLE: &str = r#"{"leak_type": "all"}"#;

/// Which leak to clear.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Clear {
    /// A leak's name, or `all` (the default).
    #[schema(example = "all")]
    leak_type: Option<String>,
}

/// What was cleared.
#[derive(Serialize, ToSchema)]
struct Cleared {
    /// Name of the leak, or `all`.
    #[schema(example = "all")]
    cleared: String,
    #[serde(flatten)]
    removed: Removed,
}

/// Empties leaks and gives their memory back. Does not switch them off.
#[utoipa::path(
    post,
    path = "/admin/leaks/clear",
    tag = "leaks",
    request_body(content = Clear, description = "May be empty: all leaks"),
    responses(
        (status = 200, body = Cleared),
        (status = 400, body = ErrorBody, description = "The path or the body can't be read"),
        (status = 404, body = ErrorBody, description = "No leak of that name"),
        (status = 408, body = ErrorBody, description = "The body did not come in time"),
        (status = 413, body = ErrorBody, description = "The body is too long"),
        (status = 422, body = ErrorBody, description = "Wrong fields"),
    )
)]
async fn clear(
    State(leaks): State<Arc<Registry>>,
    State(recording): State<Arc<Recording>>,
    body: Body,
) -> Result<Json<Cleared>, Error> {
    let asked: Clear = extract::json(body, CLEAR_EXAMPLE).await?.unwrap_or_default();
    let name = asked.leak_type.unwrap_or_else(|| ALL.to_owned());
    off_runtime(&leaks, move |leaks| {
        let only = leaks.get(&name);
        if only.is_none() && name != ALL {
            return Err(unknown(&name, &[&NAMES[..], &[ALL]].concat()));
        }
        // What was held stands in the reading before the event, what was left in the one after it.
        recording.event(Done::Clear { leak: name.clone() });
        let removed = match only {
            Some(leak) => Removed::from_one(leak),
            None => Removed::from_all(leaks),
        };
        recording.read_now();
        Ok(Json(Cleared { cleared: name, removed }))
    })
    .await
}

fn unknown(name: &str, names: &[&str]) -> Error {
    let expected = format!("one of {}", names.join(", "));
    Error::new(StatusCode::NOT_FOUND, "unknown_leak", format!("there is no leak {name:?}"), expected)
}

fn unknown_variant(name: &str) -> Error {
    let message = format!("there is no variant {name:?}");
    let expected = format!("one of {}", Variant::NAMES.join(", "));
    Error::new(StatusCode::UNPROCESSABLE_ENTITY, "unknown_variant", message, expected)
}
