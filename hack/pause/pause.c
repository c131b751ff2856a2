/* pause holds a pod's namespaces open: it sleeps, reaps orphans as PID 1, and ends on SIGINT or SIGTERM. */
#include <signal.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

static void reap(int sig) {
	(void)sig;
	while (waitpid(-1, NULL, WNOHANG) > 0) {
	}
}

static void leave(int sig) {
	(void)sig;
	_exit(0);
}

static int on(int sig, void (*handler)(int), int flags) {
	struct sigaction action = {0};
	action.sa_handler = handler;
	action.sa_flags = flags;
	return sigaction(sig, &action, NULL);
}

int main(void) {
	if (on(SIGINT, leave, 0) || on(SIGTERM, leave, 0) || on(SIGCHLD, reap, SA_NOCLDSTOP)) {
		return 1;
	}
	for (;;) {
		pause();
	}
}
