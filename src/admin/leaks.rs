//! Switches of the leaks, and what they hold.

use std::sync::Arc;

use axum::{Json, body::Body, extract::State};
use leakscope::{http::off_runtime, recorder::Cause};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    leak_state::{LeakState, LeakStates, Removed, held},
    sizes::{GrowthSinceStart, Rss, Vms, two_decimals},
};
use crate::{
    app::App,
    http::{
        error::{Error, ErrorBody},
        extract::{self, Segment},
    },
    leaks::{Leak, NAMES, Variant},
    recording::{Event, leaks_on},
};

pub(super) fn routes() -> OpenApiRouter<Arc<App>> {
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
async fn status(State(app): State<Arc<App>>) -> Json<LeaksStatus> {
    let report = off_runtime(&app, |app| app.profiles.report()).await;
    let growth_bytes = report.process.rss_bytes as i64 - app.rss_at_start_bytes as i64;
    let previous_run = app.recording.history().post_mortems.first();
    Json(LeaksStatus {
        leaks: held(&app.leaks),
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
        switch.ok_or_else(|| Error::BadJson { problem: "it is empty".into(), example: SWITCH_EXAMPLE })
    }

    /// The variant to switch to; `None`: off.
    fn variant(&self, app: &App) -> Result<Option<Variant>, Error> {
        if !self.enabled {
            return Ok(None);
        }
        let name = self.variant.as_deref().unwrap_or(Variant::Leaky.name());
        let variant = Variant::parse(name).ok_or_else(|| Error::UnknownVariant {
            name: name.to_owned(),
            names: Variant::NAMES.join(", "),
        })?;
        if !app.may_switch_on(variant) {
            return Err(Error::NoLimit);
        }
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
        (status = 404, body = ErrorBody, description = "No leak of that name"),
        (status = 409, body = ErrorBody, description = "There is no memory limit"),
        (status = 422, body = ErrorBody, description = "Wrong fields"),
    )
)]
async fn switch(
    State(app): State<Arc<App>>,
    Segment(name): Segment,
    body: Body,
) -> Result<Json<Switched>, Error> {
    let leak = app.leaks.get(&name).ok_or_else(|| unknown(&name, &NAMES))?;
    let variant = Switch::read(body).await?.variant(&app)?;
    set(&app, name.clone(), variant).await;
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
        (status = 409, body = ErrorBody, description = "There is no memory limit"),
        (status = 422, body = ErrorBody, description = "Wrong fields"),
    )
)]
async fn switch_all(State(app): State<Arc<App>>, body: Body) -> Result<Json<AllSwitched>, Error> {
    let variant = Switch::read(body).await?.variant(&app)?;
    set(&app, ALL.to_owned(), variant).await;
    let leaks = app.leaks.iter().map(switched).collect();
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
async fn set(app: &Arc<App>, name: String, variant: Option<Variant>) {
    off_runtime(app, move |app| {
        app.recording.read_now();
        let meant = app.leaks.iter().filter(|leak| name == ALL || name == leak.name());
        meant.for_each(|leak| leak.set_variant(variant));
        let variant = variant.map(|variant| variant.name().to_owned());
        app.recording.leaks(Event::Switch { leak: name, variant }, &app.leaks);
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
        (status = 404, body = ErrorBody, description = "No leak of that name"),
        (status = 422, body = ErrorBody, description = "Wrong fields"),
    )
)]
async fn clear(State(app): State<Arc<App>>, body: Body) -> Result<Json<Cleared>, Error> {
    let asked: Clear = extract::json(body, CLEAR_EXAMPLE).await?.unwrap_or_default();
    let name = asked.leak_type.unwrap_or_else(|| ALL.to_owned());
    off_runtime(&app, move |app| {
        let only = app.leaks.get(&name);
        if only.is_none() && name != ALL {
            return Err(unknown(&name, &[&NAMES[..], &[ALL]].concat()));
        }
        // What was held stands in the reading before the event, what was left in the one after it.
        app.recording.event(Event::Clear { leak: name.clone() });
        let removed = match only {
            Some(leak) => Removed::from_one(leak),
            None => Removed::from_all(&app.leaks),
        };
        app.recording.read_now();
        Ok(Json(Cleared { cleared: name, removed }))
    })
    .await
}

fn unknown(name: &str, names: &[&str]) -> Error {
    Error::UnknownLeak { name: name.to_owned(), names: names.join(", ") }
}
