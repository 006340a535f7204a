//! The service manager (systemd): the sockets it hands over, and what it is told.
//!
//! Without one everything here does nothing. The only module that knows sd-notify.

use std::io;
use std::net::TcpListener;
use std::os::fd::FromRawFd;
use std::time::Duration;

use sd_notify::NotifyState;

/// Returns the listening sockets that the service manager opened for this process (socket
/// activation); none if it was started in another way. To be called once: whoever calls it owns
/// the sockets.
///
/// # Errors
///
/// If the manager's variables make no sense, or what it handed over does not listen for TCP.
pub fn inherited_listeners() -> io::Result<Vec<TcpListener>> {
    let mut listeners = Vec::new();
    for descriptor in sd_notify::listen_fds()? {
        // SAFETY: the manager opened these descriptors for this process (their variable names its
        // id), and this function, called once, is the only one to take them.
        let listener = unsafe { TcpListener::from_raw_fd(descriptor) };
        listener.local_addr()?;
        listeners.push(listener);
    }
    Ok(listeners)
}

/// Tells the service manager that clients can connect, and what it shows of this service.
pub fn notify_ready(status: &str) {
    tell(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// Tells the service manager that the service begins to stop.
pub fn notify_stopping() {
    tell(&[NotifyState::Stopping]);
}

/// Tells the service manager that everything still runs.
pub fn notify_alive() {
    tell(&[NotifyState::Watchdog]);
}

/// Returns how long the service manager waits for [`notify_alive`] before it takes this process for
/// hung; `None` if it does not watch.
pub fn watchdog_period() -> Option<Duration> {
    sd_notify::watchdog_enabled().filter(|period| !period.is_zero())
}

fn tell(state: &[NotifyState<'_>]) {
    // Whoever runs the service by hand has no manager to tell; one that cannot be reached will
    // notice by itself.
    let _ = sd_notify::notify(state);
}
