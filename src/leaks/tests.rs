use super::*;

/// `count` requests with ids of a fixed length; those from `first` on.
fn drive(leak: &Leak, first: usize, count: usize) {
    for n in first..first + count {
        let request_id = format!("00000000-0000-4000-8000-{n:012}");
        leak.serve(&RequestInfo { request_id: &request_id, path: "/api/data" });
    }
}

fn payload_bytes(name: &str) -> u64 {
    match name {
        "cache" => 24 << 10,
        "listeners" => 16 << 10,
        "history" => 8 << 10,
        other => panic!("{other} has no documented size here"),
    }
}

#[test]
fn the_registry_knows_every_leak_by_name_and_they_start_off() {
    let registry = Registry::new();
    assert_eq!(registry.iter().map(Leak::name).collect::<Vec<_>>(), NAMES);
    for name in NAMES {
        assert_eq!(registry.get(name).expect("in the registry").variant(), None);
    }
    assert!(registry.get("unicorn").is_none());
    assert!(
        !NAMES.iter().any(|name| ["all", "clear", "status"].contains(name)),
        "those are routes beside the leaks'"
    );
}

#[test]
fn a_leak_that_is_off_does_nothing() {
    for leak in Registry::new().iter() {
        drive(leak, 0, 10);
        assert_eq!((leak.held(), leak.requests()), (Held::default(), 0), "{}", leak.name());
    }
}

#[test]
fn each_request_keeps_exactly_the_documented_payload_until_cleared() {
    for leak in Registry::new().iter() {
        leak.set_variant(Some(Variant::Leaky));
        drive(leak, 0, 100);
        let held = Held { entries: 100, payload_bytes: 100 * payload_bytes(leak.name()) };
        assert_eq!(leak.held(), held, "{}", leak.name());
        assert_eq!(leak.requests(), 100);
        assert_eq!(leak.clear(), 100);
        assert_eq!(leak.held(), Held::default());
        assert_eq!(leak.variant(), Some(Variant::Leaky), "clearing does not switch it off");
    }
}

#[test]
fn switching_keeps_what_the_other_variant_holds() {
    let registry = Registry::new();
    let history = registry.get("history").expect("in the registry");
    history.set_variant(Some(Variant::Leaky));
    drive(history, 0, 3);
    history.set_variant(Some(Variant::Fixed));
    drive(history, 3, 2);
    history.set_variant(None);
    drive(history, 5, 7);
    assert_eq!(history.held().entries, 5);
    assert!(history.record("00000000-0000-4000-8000-000000000000").is_some(), "recorded by the leaky one");
    assert!(history.record("00000000-0000-4000-8000-000000000004").is_some(), "recorded by the fixed one");
    assert!(history.record("00000000-0000-4000-8000-000000000005").is_none(), "it was off");
    assert_eq!(history.clear(), 5);
}

#[test]
fn the_leaky_cache_never_hits_and_the_fixed_one_nearly_always() {
    let registry = Registry::new();
    let cache = registry.get("cache").expect("in the registry");
    cache.set_variant(Some(Variant::Leaky));
    drive(cache, 0, 100);
    assert_eq!(cache.current_lookups(), Some(Lookups { hits: 0, misses: 100 }));
    cache.set_variant(Some(Variant::Fixed));
    drive(cache, 0, 100);
    assert_eq!(cache.current_lookups(), Some(Lookups { hits: 99, misses: 1 }));
    assert_eq!(cache.lookups(), Some(Lookups { hits: 99, misses: 101 }));
}

#[test]
fn the_fixed_cache_tells_items_apart_and_ignores_what_does_not_decide() {
    let registry = Registry::new();
    let cache = registry.get("cache").expect("in the registry");
    cache.set_variant(Some(Variant::Fixed));
    for path in ["/api/data?item=1", "/api/data?item=2", "/api/data?utm=x&item=1", "/api/data?item=2&utm=y"] {
        cache.serve(&RequestInfo { request_id: "any", path });
    }
    assert_eq!(cache.current_lookups(), Some(Lookups { hits: 2, misses: 2 }));
}

#[test]
fn a_request_takes_longer_the_more_listeners_there_are() {
    let registry = Registry::new();
    let listeners = registry.get("listeners").expect("in the registry");
    listeners.set_variant(Some(Variant::Leaky));
    let quickest_of_20 = |first: usize| {
        (0..20)
            .map(|n| {
                let started = std::time::Instant::now();
                drive(listeners, first + n, 1);
                started.elapsed()
            })
            .min()
            .expect("20 requests")
    };
    drive(listeners, 0, 200);
    let with_200 = quickest_of_20(200);
    drive(listeners, 220, 3_780);
    let with_4000 = quickest_of_20(4_000);
    assert!(with_4000 > 5 * with_200, "200 listeners: {with_200:?}, 4,000: {with_4000:?}");
}

#[test]
fn who_listens_hears_every_request_meanwhile_and_only_the_bug_goes_on_telling() {
    for (variant, heard_in_all) in [(Variant::Leaky, 5), (Variant::Fixed, 3)] {
        let registry = Registry::new();
        let listeners = registry.get("listeners").expect("in the registry");
        listeners.set_variant(Some(variant));
        let (hears, heard) = std::sync::mpsc::channel();
        let listener = Box::new(move |event: &Event<'_>| {
            let _ = hears.send(event.request_id.to_owned());
        });
        listeners.listen(listener, || drive(listeners, 0, 3));
        let first = heard.try_recv().expect("it heard the first request");
        assert_eq!(first, "00000000-0000-4000-8000-000000000000", "{variant:?}");
        drive(listeners, 3, 2);
        assert_eq!(1 + heard.try_iter().count(), heard_in_all, "{variant:?}");
    }
}
