/* fault_point.h - places where a test lets the process die, and a disk that is slower than it is.
 *
 * Only in builds with OMEN_FAULT_POINTS (the test's own server): OMENDB_FAULT_KILL=propose:3 in the
 * environment sends SIGKILL to the process when it passes the point "propose" for the third time.
 * With OMENDB_FAULT_ARMED_BY=<file> a pass counts only while that file is there, so that a test may
 * let a start go by, whatever that start replays. OMENDB_FAULT_SYNC_MS=5 makes every sync of a file
 * take 5 ms more; "off" leaves them all out. Elsewhere a point is nothing at all.
 */
#ifndef OMEN_FAULT_POINT_H
#define OMEN_FAULT_POINT_H

#include <stdbool.h>

#ifdef OMEN_FAULT_POINTS
void omen_fault_point(const char *name); /* any thread */
#define OMEN_FAULT_POINT(name) omen_fault_point(name)
bool omen_fault_sync(void); /* false: leave it out */
#define OMEN_FAULT_SYNC() omen_fault_sync()
#else
#define OMEN_FAULT_POINT(name) ((void)0)
#define OMEN_FAULT_SYNC()      true
#endif

#endif
