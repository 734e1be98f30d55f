//! The short version of `cargo bench --bench accuracy`.

mod check;

use std::time::Duration;

use self::check::Plan;

#[tokio::test(flavor = "multi_thread")]
async fn every_reported_interval_holds_the_true_arrival() {
    let plan = Plan { seed: 1, tenants: 8, traces: 210, interval: Duration::from_millis(500) };
    let reports = check::run(plan).await;
    println!("{}", check::head());
    reports.iter().for_each(|report| println!("{}", report.row()));
    let broken = check::broken(&reports);
    assert!(broken.is_empty(), "{broken:#?}");
    assert!(check::sightings(&reports) >= 1_000, "{}", check::sightings(&reports));
}
