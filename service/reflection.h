/* reflection.h - gRPC server reflection: what grpcurl asks before it can call anything. */
#ifndef OMEN_REFLECTION_H
#define OMEN_REFLECTION_H

struct omen_reflection;

/* Indexes every symbol of the descriptor set that is part of the binary. NULL without memory. */
struct omen_reflection *omen_reflection_create(void);
void omen_reflection_destroy(struct omen_reflection *reflection); /* NULL is allowed */

#endif
