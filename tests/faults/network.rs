//! What happens to the network.

use std::time::Duration;

use tokio::time::sleep;
use traceprobe::sandbox::{Fault, Service, ServiceEffect};

use super::probe::Probe;
use super::row::Row;
use super::scene::Scene;
use super::support::SOON;
use super::verdict::{self, Unobserved};

/// Every service cuts every connection, for longer than the deadline and the grace period.
pub async fn away(lasting: Duration) -> Row {
    let scene = Scene::set("faults-away", 1).await;
    let files = scene.files("probe", "200ms");
    let probe = Probe::start(&files).await;
    probe.until("canaries are delivered", SOON, |recent| recent.ended("delivered") >= 5).await;
    for service in Service::ALL {
        scene.sandbox.fault(Fault::service(service, ServiceEffect::CutBefore));
    }
    sleep(lasting).await;
    let shown = probe.recent().await.conditions.len();
    scene.sandbox.clear_all();
    let sent = scene.truth().len();
    probe.until("canaries leave again", SOON, |_| scene.truth().len() >= sent + 10).await;
    let memory = probe.peak_memory();
    probe.finish().await;
    let fault = format!("all services cut every connection for {} s", lasting.as_secs());
    let mut row = verdict::row(&scene, &files, Unobserved::Allowed, fault);
    scene.sandbox.stop().await;
    if shown == 0 {
        row.faults.push("the page showed no condition".to_owned());
    }
    Row { memory: Some(memory), remark: format!("{shown} conditions shown meanwhile"), ..row }
}
