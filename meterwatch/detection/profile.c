/* What a profile remembers, packed and unpacked: flags as bits, then each series that is there in its form.

Called by `profiles.py`. A form is a byte before the series: whole, in pairs of which one says it all (readings every
half hour), the same from the second slot on, or the same as the end of the first series (one reading a slot). */

#include <math.h>
#include <stdint.h>
#include <string.h>

enum { WHOLE, PAIRS, HALVED_PAIRS, AS_MEAN };

#define MISSING (-32768)
#define NO_BYTE 255

typedef struct {
    int32_t series, history, width; /* width: slots of all series */
    const int32_t *lengths, *offset;
    const int32_t *step, *lowest; /* of a coarse series' codes that a byte holds: multiples of `step`; 0: not coarse */
} Layout;

static int64_t write(const Layout *layout, int k, const int16_t *code, int count, int apart, uint8_t *out) {
    int step = layout->step[k], lowest = layout->lowest[k];
    if (!step) {
        for (int i = 0; i < count; i++) memcpy(out + 2 * i, code + (int64_t)i * apart, 2);
        return 2 * (int64_t)count;
    }
    for (int i = 0; i < count; i++) {
        int one = code[(int64_t)i * apart];
        double place = nearbyint((double)one / step) - lowest;
        out[i] = one == MISSING ? NO_BYTE : (uint8_t)(place < 0 ? 0 : place > 254 ? 254 : place);
    }
    return count;
}

static int64_t read(const Layout *layout, int k, const uint8_t *from, int count, int apart, int again, int16_t *code) {
    int step = layout->step[k], lowest = layout->lowest[k];
    for (int i = 0; i < count; i++) {
        int16_t one;
        if (step)
            one = from[i] == NO_BYTE ? MISSING : (int16_t)((from[i] + lowest) * step);
        else
            memcpy(&one, from + 2 * i, 2);
        for (int j = 0; j < again; j++) code[(int64_t)i * apart + j] = one;
    }
    return (step ? 1 : 2) * (int64_t)count;
}

/* Pack the meter in row `row` of slots and flags into `out`, which has room for it whole. Answers the bytes, and in
   `present` which series there are. */
int64_t mw_pack(const Layout *layout, const int16_t *slots, const uint8_t *flags, int64_t row, int odd, uint8_t *out,
                int32_t *present) {
    const uint8_t *flag = flags + row * layout->history;
    slots += row * layout->width;
    int64_t at = layout->history / 8;
    memset(out, 0, (size_t)at);
    for (int i = 0; i < layout->history; i++) out[i / 8] |= (uint8_t)((flag[i] & 1) << (7 - i % 8));
    *present = 0;
    for (int k = 0; k < layout->series; k++) {
        int n = layout->lengths[k], known = 0, paired = 1;
        const int16_t *code = slots + layout->offset[k];
        for (int i = 0; i < n; i++) known |= code[i] != MISSING;
        if (!known) continue;
        *present |= 1 << k;
        if (k && !memcmp(code, slots + layout->offset[0] + layout->lengths[0] - n, 2 * (size_t)n)) {
            out[at++] = AS_MEAN;
            continue;
        }
        uint8_t *form = out + at++;
        int64_t begin = at;
        at += write(layout, k, code, n, 1, out + at);
        int size = layout->step[k] ? 1 : 2;
        const uint8_t *first = out + begin + size * odd;
        for (int i = 0; i < (n - 2 * odd) / 2 && paired; i++)
            paired = !memcmp(first + 2 * i * size, first + (2 * i + 1) * size, (size_t)size);
        *form = (uint8_t)(paired ? PAIRS + odd : WHOLE);
        if (!paired) continue;
        at = begin + write(layout, k, code, odd, 1, out + begin);
        at += write(layout, k, code + odd, (n - 2 * odd) / 2, 2, out + at);
        at += write(layout, k, code + n - odd, odd, 1, out + at);
    }
    return at;
}

/* Unpack a body of `size` bytes into row `row`, whose slots are all missing. Answers 1 where it is too short. */
int mw_unpack(const Layout *layout, int16_t *slots, uint8_t *flags, int64_t row, const uint8_t *body, int64_t size,
              int32_t present) {
    uint8_t *flag = flags + row * layout->history;
    slots += row * layout->width;
    int64_t at = layout->history / 8;
    if (size < at) return 1;
    for (int i = 0; i < layout->history; i++) flag[i] = body[i / 8] >> (7 - i % 8) & 1;
    for (int k = 0; k < layout->series; k++) {
        if (!(present >> k & 1)) continue;
        if (at >= size) return 1;
        int n = layout->lengths[k], form = body[at++], odd = form == HALVED_PAIRS;
        int16_t *code = slots + layout->offset[k];
        if (form == AS_MEAN) {
            memcpy(code, slots + layout->offset[0] + layout->lengths[0] - n, 2 * (size_t)n);
            continue;
        }
        int64_t count = form ? n / 2 + odd : n;
        if (at + count * (layout->step[k] ? 1 : 2) > size) return 1;
        if (form == WHOLE) {
            at += read(layout, k, body + at, n, 1, 1, code);
        } else {
            at += read(layout, k, body + at, odd, 1, 1, code);
            at += read(layout, k, body + at, (n - 2 * odd) / 2, 2, 2, code + odd);
            at += read(layout, k, body + at, odd, 1, 1, code + n - odd);
        }
    }
    return 0;
}
