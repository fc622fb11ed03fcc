/* offline.h - omendb-server verify and omendb-server recover: a data directory that no server has
 * open is checked, or what is whole in it is saved.
 */
#ifndef OMEN_OFFLINE_COMMAND_H
#define OMEN_OFFLINE_COMMAND_H

#include <stdbool.h>

bool omen_offline_knows(const char *command); /* "verify", "recover" */

/* Runs it, with what it finds on stdout. Returns the exit status: 0 all is well, 1 there is damage
 * (each was told) or something could not be read, 2 it was called wrongly. */
int omen_offline_main(int argc, char **argv);

#endif
