/* codes.c - see codes.h. */
#include "engine/codes.h"

#include <string.h>

/* sum(code - 128) comes from a product with ones, so that no kernel of its own is needed. */
static const int8_t ones[OMEN_DIM_MAX] __attribute__((aligned(64))) = {
#define ONE4 1, 1, 1, 1
#define ONE64                                                                                      \
    ONE4, ONE4, ONE4, ONE4, ONE4, ONE4, ONE4, ONE4, ONE4, ONE4, ONE4, ONE4, ONE4, ONE4, ONE4, ONE4
#define ONE1024                                                                                    \
    ONE64, ONE64, ONE64, ONE64, ONE64, ONE64, ONE64, ONE64, ONE64, ONE64, ONE64, ONE64, ONE64,     \
        ONE64, ONE64, ONE64
    ONE1024, ONE1024, ONE1024, ONE1024};

static float round_scale_up(float scale);

float omen_code_phi_squared(float old, float norm)
{
    int exponent = 0;
    float power;

    if (norm <= old) return old;
    (void)frexpf(norm, &exponent);
    power = ldexpf(1.0f, exponent - 1);
    return power >= norm ? power : power * 2.0f;
}

int omen_code_encode(const struct omen_kernels *kernels, omen_metric metric, const float *x,
                     uint8_t *code, struct omen_encoded *out)
{
    size_t stride = omen_code_stride(kernels->dim);
    float max = kernels->max_abs_f32(x, kernels->dim);
    int8_t values[OMEN_DIM_MAX] __attribute__((aligned(64)));
    struct omen_prepared self = {.values = values};
    struct omen_probe probe;
    float scale;

    *out = (struct omen_encoded){.inverse_length = 1.0f};
    if (max == 0.0f) {
        memset(code, (int)OMEN_CODE_ZERO, stride);
        return metric == OMEN_METRIC_COSINE ? OMEN_REFUSED_ZERO : 0;
    }
    if (!(max >= OMEN_COMPONENT_MIN && max <= OMEN_COMPONENT_MAX))
        return omen_code_refuse_magnitude(x, kernels->dim, max, &out->detail);
    if (metric == OMEN_METRIC_COSINE)
        out->inverse_length = 1.0f / sqrtf(kernels->dot_f32_one(x, x, kernels->dim));
    scale = round_scale_up(max * out->inverse_length / 127.0f);
    kernels->encode_i8(x, kernels->dim, out->inverse_length / scale, code);

    omen_code_prepare(kernels, code, out->meta, &self);
    probe = omen_prepared_probe(&self);
    out->meta.scale = scale;
    out->meta.norm = (scale * scale) * (float)kernels->dot_i8_one(code, &probe, stride);
    return 0;
}

void omen_code_prepare(const struct omen_kernels *kernels, const uint8_t *code,
                       struct omen_code_meta meta, struct omen_prepared *out)
{
    size_t stride = omen_code_stride(kernels->dim);
    const struct omen_probe sum = {ones, 128 * (int32_t)stride};

    int8_t *restrict values = out->values; /* else each byte written might be this pointer's own */

    for (size_t i = 0; i < stride; i++)
        values[i] = (int8_t)(code[i] ^ 0x80u); /* code - 128, in two's complement */
    out->bias = 128 * kernels->dot_i8_one(code, &sum, stride);
    out->meta = meta;
}

/* Keeps 12 bits of the mantissa; a carry into the exponent is right, too. */
static float round_scale_up(float scale)
{
    uint32_t bits;

    memcpy(&bits, &scale, sizeof bits);
    bits = (bits + 0x7ffu) & ~0x7ffu;
    memcpy(&scale, &bits, sizeof scale);
    return scale;
}

int omen_code_refuse_magnitude(const float *x, uint32_t dim, float max, uint32_t *detail)
{
    if (max < OMEN_COMPONENT_MIN) return OMEN_REFUSED_TOO_SMALL;
    for (uint32_t i = 0; i < dim; i++) {
        if (!isfinite(x[i])) {
            *detail = i;
            return OMEN_REFUSED_NOT_FINITE;
        }
    }
    for (uint32_t i = 0; i < dim; i++) {
        if (fabsf(x[i]) > OMEN_COMPONENT_MAX) *detail = i;
    }
    return OMEN_REFUSED_TOO_LARGE;
}
