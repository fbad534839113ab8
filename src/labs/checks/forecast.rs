//! Lab 8: to say beforehand when the limit will end the service.

use serde::Deserialize;

use super::super::{
    Hints, Judged, Lab, Unmet,
    evidence::{Evidence, RunEvidence},
    judge,
    measure::{growth_bytes, is_near, last_seconds, requests},
};
use crate::recording::Done;

/// The lab.
pub const LAB: Lab = Lab {
    id: "8",
    title: "The hour of death",
    minutes: 12,
    optional: false,
    answer: Some(r#"{"answer": {"seconds_to_limit": 60}}"#),
    judge: |evidence, answer| judge(evidence, answer, check),
    note: |evidence, answer| {
        let seconds_to_limit = answer.get("seconds_to_limit")?.as_f64()?;
        grows(evidence).then_some(Done::Forecast { seconds_to_limit })
    },
};

/// A forecast counts if the end is at least so far away: anybody sees the last seconds coming.
const AHEAD_SECONDS: f64 = 20.0;
/// How far the end may be from the forecast, as a share of what was forecast.
const WITHIN: f64 = 0.2;
/// It grows if it did so in its last seconds.
const LATELY_SECONDS: f64 = 10.0;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "what was said stands in the evidence: it is written down before it is judged")]
struct Answer {
    seconds_to_limit: f64,
}

const HINTS: Hints = [
    "what is left until the limit, by what it grows a second",
    "the trend knows both once it has decided; it wants some tens of seconds of steady load",
    "`.time_to_limit_seconds` of /admin/memory/trend; alone it says nothing while the verdict is undecided",
];
const DIE_HINTS: Hints = [
    "a forecast is worth something only if what it rests on goes on",
    "the same load at the same rate until the service is gone",
    "the load's report and the log say when that was; a load that ends too early lets the service live",
];

/// A forecast, and how the run went on.
enum Forecast {
    /// What was said, and how long it really took.
    Ended { said: f64, took: f64 },
    /// It has not ended yet.
    Pending { said: f64 },
}

fn check(evidence: &Evidence, _: Option<&Answer>) -> Judged {
    let forecasts: Vec<_> = evidence.runs.iter().filter_map(last_forecast).collect();
    let told = |said: f64, took: f64| format!("forecast: {said:.0} s to the limit; it took {took:.0} s");
    for forecast in &forecasts {
        if let Forecast::Ended { said, took } = *forecast
            && took >= AHEAD_SECONDS
            && is_near(took, said, WITHIN)
        {
            return Ok(told(said, took));
        }
    }
    let wanted = format!(
        "a forecast while it grows, {AHEAD_SECONDS} s before the end or earlier, {{\"seconds_to_limit\": N}}, and an end by the \
         limit within {:.0} % of it",
        WITHIN * 100.0
    );
    Err(match forecasts.last() {
        Some(Forecast::Pending { said }) => {
            Unmet::new(format!("written down: {said:.0} s to the limit; now let it die"), wanted, DIE_HINTS)
        }
        Some(Forecast::Ended { said, took }) => Unmet::new(told(*said, *took), wanted, HINTS),
        None if grows(evidence) => Unmet::new("it grows, and nobody has said for how long", wanted, HINTS),
        None => Unmet::new("nothing grows now, and there was no forecast while it did", wanted, HINTS),
    })
}

/// The last one of a run: who makes many does not make the better one.
fn last_forecast(run: &RunEvidence) -> Option<Forecast> {
    let mut forecasts = run.events.iter().filter_map(|(seconds, event)| match event {
        Done::Forecast { seconds_to_limit } => Some((*seconds, *seconds_to_limit)),
        _ => None,
    });
    let (seconds, said) = forecasts.next_back()?;
    match (&run.end, run.died_of_limit()) {
        (_, Some(end)) => Some(Forecast::Ended { said, took: end.seconds - seconds }),
        (None, None) => Some(Forecast::Pending { said }),
        (Some(_), None) => None,
    }
}

/// Whether the service that runs grows now.
fn grows(evidence: &Evidence) -> bool {
    let Some(run) = evidence.runs.last().filter(|run| run.end.is_none()) else { return false };
    let lately = last_seconds(&run.readings, LATELY_SECONDS);
    let is_leaky = lately.last().is_some_and(|reading| reading.leaky() > 0);
    is_leaky && requests(lately) > 0 && growth_bytes(lately) > 0.0
}

#[cfg(test)]
mod tests {
    use leakscope::recorder::Cause;

    use super::{super::super::story::Story, *};

    fn passes(story: &Story) -> bool {
        check(&story.evidence(), None).is_ok()
    }

    /// Says so much, then the limit comes after so much.
    fn said_and_took(said: f64, took: u64) -> Story {
        let mut story = Story::new();
        story.switch("cache", Some("leaky")).load(50, 30).event(Done::Forecast { seconds_to_limit: said });
        story.load(50, took).killed_by_the_limit();
        story
    }

    #[test]
    fn an_end_within_a_fifth_of_the_forecast_passes() {
        for (said, took, right) in [
            (100.0, 100, true),
            (100.0, 118, true),
            (100.0, 82, true),
            (100.0, 124, false),
            (100.0, 78, false),
        ] {
            assert_eq!(passes(&said_and_took(said, took)), right, "{said} {took}");
        }
        assert!(!passes(&said_and_took(10.0, 10)), "anybody sees that coming");
    }

    #[test]
    fn only_the_last_forecast_of_a_run_counts_and_only_with_its_end() {
        let mut many = Story::new();
        many.switch("cache", Some("leaky")).load(50, 30).event(Done::Forecast { seconds_to_limit: 100.0 });
        assert!(!passes(&many), "it lives");
        many.load(50, 2).event(Done::Forecast { seconds_to_limit: 200.0 }).load(50, 98).killed_by_the_limit();
        assert!(!passes(&many), "the last word was 200 s");
        let mut stopped = Story::new();
        stopped.switch("cache", Some("leaky")).load(50, 30).event(Done::Forecast { seconds_to_limit: 100.0 });
        assert!(!passes(stopped.load(50, 100).end(Cause::Stopped)), "the limit did not end it");
        let mut again = said_and_took(10.0, 100);
        again.switch("cache", Some("leaky")).load(50, 30).event(Done::Forecast { seconds_to_limit: 60.0 });
        assert!(passes(again.load(50, 60).killed_by_the_limit()), "the next life is another chance");
    }

    #[test]
    fn an_answer_is_written_down_only_while_it_grows() {
        let answer = serde_json::Map::from_iter([("seconds_to_limit".to_owned(), 92.5.into())]);
        let note = |story: &Story| (LAB.note)(&story.evidence(), &answer);
        let mut story = Story::new();
        assert_eq!(note(&story), None);
        story.switch("cache", Some("leaky")).load(50, 20);
        assert_eq!(note(&story), Some(Done::Forecast { seconds_to_limit: 92.5 }));
        assert_eq!(note(story.pause(30.0)), None, "the load is over");
        assert_eq!(note(story.switch("cache", Some("fixed")).load(50, 20)), None, "it does not leak");
    }
}
