//! The status page as it is served, and the events that update it.

use futures::StreamExt;

use super::*;

type Events = axum::body::BodyDataStream;

async fn events(face: &Face) -> Events {
    let response = face.get("/events").await;
    assert_eq!(response.status(), 200);
    assert_eq!(
        response.headers()[header::CONTENT_TYPE],
        "text/event-stream"
    );
    response.into_body().into_data_stream()
}

/// The page of the next event, or `None` at the end.
async fn next(events: &mut Events) -> Option<Value> {
    let event = events.next().await?.unwrap();
    let event = std::str::from_utf8(&event).unwrap().to_owned();
    let data = event.strip_prefix("event: view\ndata: ").unwrap();
    Some(serde_json::from_str(data.trim()).unwrap())
}

#[tokio::test]
async fn content_policy_permits_only_own_style_and_script() {
    let face = face(fixture::jammed(), Receiver::default());
    let page = face.get("/").await;
    let policy = page.headers()[header::CONTENT_SECURITY_POLICY]
        .to_str()
        .unwrap()
        .to_owned();
    assert!(
        policy.starts_with("default-src 'none'; ") && !policy.contains("unsafe"),
        "{policy}"
    );
    let page = text(page).await;
    for asset in ["page.css", "page.js", "favicon.svg"] {
        assert!(page.contains(asset));
        assert_eq!(face.get(&format!("/{asset}")).await.status(), 200);
    }
    assert!(!page.contains(" style=") && !page.contains("<style"));
}

#[tokio::test(start_paused = true)]
async fn each_change_sends_an_event() {
    let face = face(fixture::healthy(), Receiver::default());
    let mut events = events(&face).await;
    assert_eq!(
        next(&mut events).await.unwrap()["title"],
        "nothing stuck · locksmith"
    );
    face.publish.send(Arc::new(fixture::jammed())).unwrap();
    let jammed = next(&mut events).await.unwrap();
    assert_eq!(jammed["title"], "4 stuck · locksmith");
    // The time of the observation, not of the response.
    assert_eq!(jammed["at"], "2026-11-01 03:00:00 UTC");
    assert!(jammed["content"].as_str().unwrap().contains("pvc/prowlarr"));
    // Ages advance without changes.
    assert_eq!(next(&mut events).await.unwrap()["title"], jammed["title"]);
    face.shutdown.cancel();
    assert_eq!(next(&mut events).await, None);
}

#[tokio::test(start_paused = true)]
async fn unchanged_view_sends_no_event_until_ages_change() {
    let face = face(fixture::jammed(), Receiver::default());
    let mut events = events(&face).await;
    next(&mut events).await.unwrap();
    let begun = tokio::time::Instant::now();
    let publishing = async {
        loop {
            tokio::time::sleep(Duration::from_secs(1)).await;
            face.publish.send(Arc::new(fixture::jammed())).unwrap();
        }
    };
    tokio::select! {
        _ = next(&mut events) => {}
        () = publishing => {}
    }
    assert!(begun.elapsed() >= Duration::from_secs(10));
}

#[tokio::test(start_paused = true)]
async fn stalled_reader_frees_its_slot() {
    let face = face(fixture::healthy(), Receiver::default());
    let mut all = Vec::new();
    for _ in 0..crate::server::status_page::live::LIVE_AT_A_TIME {
        all.push(events(&face).await);
    }
    assert_eq!(face.get("/events").await.status(), 503);
    tokio::time::sleep(Duration::from_secs(120)).await;
    assert_eq!(face.get("/events").await.status(), 200);
}

#[tokio::test]
async fn stale_view_is_not_live() {
    let Face {
        router, publish, ..
    } = face(fixture::healthy(), Receiver::default());
    drop(publish);
    let request = Request::get("/events").body(Body::empty()).unwrap();
    assert_eq!(router.oneshot(request).await.unwrap().status(), 503);
}

#[tokio::test(start_paused = true)]
async fn followers_are_limited() {
    let face = face(fixture::healthy(), Receiver::default());
    let mut all = Vec::new();
    for _ in 0..crate::server::status_page::live::LIVE_AT_A_TIME {
        all.push(events(&face).await);
    }
    let refused = face.get("/events").await;
    assert_eq!(refused.status(), 503);
    assert!(refused.headers().contains_key(header::RETRY_AFTER));
    all.pop();
    // Well before a client that reads nothing is disconnected.
    tokio::time::sleep(Duration::from_secs(1)).await;
    drop(events(&face).await);
}
