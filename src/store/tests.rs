use super::*;
use std::path::PathBuf;

const RULES: Rules = Rules { device: Reuse::Refuse, key: Reuse::Renew, quota: Quota { total: Some(3), per_device: None } };

fn intent(request: &str, csr: u8, device: &str, key: u8) -> Intent {
    Intent {
        serial: Serial::generate().unwrap(),
        request: RequestId::parse(request).unwrap(),
        csr_sha256: [csr; 32],
        profile: ProfileName::parse("p").unwrap(),
        policy: [0; 32],
        device: device.into(),
        key: Fingerprint::of_spki(&[key]),
        role: "station".into(),
        uid: 7,
        tbs_sha256: [9; 32],
        created_ms: 1,
    }
}

fn leaf() -> Leaf {
    Leaf { entry: b"entry".to_vec(), salt: [3; 32], metadata: "m".into() }
}

async fn issue(store: &Store, i: &Intent, rules: Rules) -> u64 {
    assert_eq!(store.begin(i.clone(), rules).await.unwrap(), Begun::New);
    store.end(i.serial, Outcome::Issued(vec![i.csr_sha256[0]; 40]), leaf()).await.unwrap()
}

fn fresh() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().to_owned();
    Store::create(&path).unwrap();
    (dir, path)
}

#[tokio::test]
async fn a_request_has_one_answer_for_ever() {
    let (_dir, path) = fresh();
    let Opened { store, writer, .. } = Store::open(&path).unwrap();
    let first = intent("r1", 1, "free:a", 1);
    assert_eq!(issue(&store, &first, RULES).await, 0);
    drop(store);
    writer.join().unwrap();

    let Opened { store, writer: _writer, .. } = Store::open(&path).unwrap();
    let Begun::Replay(record) = store.begin(intent("r1", 1, "free:a", 1), RULES).await.unwrap() else { panic!("no replay") };
    assert_eq!((record.serial, record.certificate), (first.serial, vec![1; 40]));
    let other = store.begin(intent("r1", 2, "free:b", 2), RULES).await.unwrap();
    assert_eq!(other, Begun::Conflict(Conflict::RequestReused));
    let twice = store.end(first.serial, Outcome::Failed, leaf()).await;
    assert_eq!(twice, Err(StoreError::NotPending(first.serial.to_string())));
    assert_eq!(store.reader().log_size().unwrap(), 1, "a refused end must not leave an entry");
}

#[tokio::test]
async fn devices_keys_and_quota_are_enforced_in_the_transaction() {
    let (_dir, path) = fresh();
    let Opened { store, writer: _writer, .. } = Store::open(&path).unwrap();
    let first = intent("r1", 1, "free:a", 1);
    issue(&store, &first, RULES).await;
    let conflict = |b: Begun| if let Begun::Conflict(c) = b { c } else { panic!("{b:?}") };
    assert_eq!(conflict(store.begin(intent("r2", 2, "free:a", 2), RULES).await.unwrap()), Conflict::DeviceKnown(first.serial));
    assert_eq!(
        conflict(store.begin(intent("r3", 3, "free:b", 1), RULES).await.unwrap()),
        Conflict::KeyKnown(first.serial, "free:a".into())
    );
    let renew = Rules { device: Reuse::Renew, ..RULES };
    let strict = Rules { key: Reuse::Refuse, ..renew };
    assert_eq!(
        conflict(store.begin(intent("r4", 4, "free:a", 1), strict).await.unwrap()),
        Conflict::KeyKnown(first.serial, "free:a".into())
    );
    let once = Rules { quota: Quota { total: None, per_device: Some(1) }, ..renew };
    assert_eq!(conflict(store.begin(intent("r4", 4, "free:a", 1), once).await.unwrap()), Conflict::DeviceQuotaExhausted(1));
    issue(&store, &intent("r5", 5, "free:a", 1), renew).await;
    issue(&store, &intent("r6", 6, "free:c", 6), RULES).await;
    assert_eq!(conflict(store.begin(intent("r7", 7, "free:d", 7), RULES).await.unwrap()), Conflict::QuotaExhausted(3));
}

#[tokio::test]
async fn a_crash_leaves_a_listed_intent_and_a_retry_gets_a_new_serial() {
    let (_dir, path) = fresh();
    let Opened { store, writer, .. } = Store::open(&path).unwrap();
    let lost = intent("r1", 1, "free:a", 1);
    store.begin(lost.clone(), RULES).await.unwrap();
    assert_eq!(store.begin(intent("r1", 1, "free:a", 1), RULES).await.unwrap(), Begun::Conflict(Conflict::InProgress));
    assert!(matches!(Store::open(&path), Err(StoreError::Locked(_))), "a second owner must be refused");
    drop(store);
    writer.join().unwrap();

    let Opened { store, writer: _writer, .. } = Store::open(&path).unwrap();
    let listed = store.reader().unresolved(10).unwrap();
    assert_eq!(listed.iter().map(|u| u.serial).collect::<Vec<_>>(), [lost.serial]);
    let reused = store.begin(intent("r1", 2, "free:a", 1), RULES).await.unwrap();
    assert_eq!(reused, Begun::Conflict(Conflict::RequestReused));
    issue(&store, &intent("r1", 1, "free:a", 1), RULES).await;
}

#[test]
fn creating_refuses_to_overwrite_and_opening_never_creates() {
    let (_dir, path) = fresh();
    assert!(matches!(Store::create(&path), Err(StoreError::Failed(_))));
    let empty = tempfile::tempdir().unwrap();
    assert!(matches!(Store::open(empty.path()), Err(StoreError::Failed(_))));
}

#[tokio::test]
async fn a_token_that_did_not_sign_uses_up_no_quota() {
    let (_dir, path) = fresh();
    let Opened { store, .. } = Store::open(&path).unwrap();
    let rules = Rules { quota: Quota { total: Some(1), per_device: Some(1) }, ..RULES };
    for n in 0..5 {
        let away = intent("r1", 1, "free:a", 1);
        assert_eq!(store.begin(away.clone(), rules).await.unwrap(), Begun::New, "attempt {n}");
        store.end(away.serial, Outcome::Failed, leaf()).await.unwrap();
    }
    issue(&store, &intent("r1", 1, "free:a", 1), rules).await;
    let over = store.begin(intent("r2", 2, "free:b", 2), rules).await.unwrap();
    assert_eq!(over, Begun::Conflict(Conflict::QuotaExhausted(1)));
}
