/* health.h - grpc.health.v1: what probes and clients are told about this server. */
#ifndef OMEN_HEALTH_H
#define OMEN_HEALTH_H

#include <stdbool.h>

struct omen_health;

struct omen_health *omen_health_create(void); /* NOT_SERVING; NULL without memory */
void omen_health_destroy(struct omen_health *health);

/* Tells every watcher that has not heard it. Any thread. */
void omen_health_set(struct omen_health *health, bool serving);

/* Whether writes are taken: ".../write" is served only then. Any thread. */
void omen_health_set_writes(struct omen_health *health, bool taken);

/* Ends every Watch, now and from now on: the server is about to go. Any thread. */
void omen_health_end_watches(struct omen_health *health);

#endif
