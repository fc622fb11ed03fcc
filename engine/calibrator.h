/* calibrator.h - the thread that looks after every collection's calibration.
 *
 * Once a second it looks which collections are due: a first time; when the points have doubled, or
 * are half as many; when the target was changed; and every calibrate_seconds if enough queries came
 * to make half of the sample new, every ten times that if a few did.
 *
 * It takes calibrate_percent of one core and gives way to searches that wait for a thread, to each
 * piece of its work (about a millisecond) up to 50 ms: under a load that never ends it still gets
 * on, at a fiftieth of a core.
 */
#ifndef OMEN_CALIBRATOR_H
#define OMEN_CALIBRATOR_H

#include "engine/engine.h"

struct omen_calibrator;

OMEN_CHECKED omen_code omen_calibrator_start(omen_engine *engine, struct omen_calibrator **out,
                                             omen_error *err);
/* Ends a calibration that is under way. NULL is allowed. */
void omen_calibrator_stop(struct omen_calibrator *calibrator);

#endif
