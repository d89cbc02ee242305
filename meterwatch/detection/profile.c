/* What is remembered, packed and unpacked. Called by `profiles.py` and `memory.py`.

A profile: flags as bits, then each series that is there in its form. A form is a byte before the series: whole, in pairs of which one says it all (readings every
half hour), the same from the second slot on, or the same as the end of the first series (one reading a slot). */

#include "record.h"

enum { WHOLE, PAIRS, HALVED_PAIRS, AS_MEAN };

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

/* Pack the bodies of states: a record's fields, then the slots of the series that are not coarse, then the coarse. */
void mw_pack_states(const Layout *layout, const Record *records, int64_t n, uint8_t *out) {
    for (const Record *r = records; r < records + n; r++) {
        memcpy(out, r, offsetof(Record, hot));
        out += offsetof(Record, hot);
        for (int coarse = 0; coarse < 2; coarse++)
            for (int k = 0; k < SERIES; k++) {
                int16_t code[HOT];
                memcpy(code, r->hot[k], sizeof code);
                if ((layout->step[k] != 0) == coarse) out += write(layout, k, code, HOT, 1, out);
            }
    }
}

static int is_known(int why, int statistics, int kinds) {
    return ((why & 0xFF) == 0xFF || (why & 0xFF) < statistics) && why >> 8 <= kinds;
}

/* Unpack bodies of states. Answers the first that says times or places that would lead beyond what is there, since a
   seal can be forged; `n` if none does. `roll` is each meter's slot of the day at which its profile may change. */
int64_t mw_unpack_states(const Layout *layout, const uint8_t *body, int64_t n, const int64_t *roll, int statistics,
                         int kinds, Record *records) {
    int64_t wrong = n;
    for (int64_t m = 0; m < n; m++) {
        Record *r = &records[m];
        memcpy(r, body, offsetof(Record, hot));
        body += offsetof(Record, hot);
        for (int coarse = 0; coarse < 2; coarse++)
            for (int k = 0; k < SERIES; k++) {
                int16_t code[HOT];
                if ((layout->step[k] != 0) != coarse) continue;
                body += read(layout, k, body, HOT, 1, 1, code);
                memcpy(r->hot[k], code, sizeof code);
            }
        const int64_t times[] = {r->newest,   r->jump_at,  r->last_power_at, r->resumed_at, r->slot,
                                 r->closed,   r->slow_slot, r->peak_hour,    r->ev_start,   r->ev_last,
                                 r->ev_peak,  r->hole_from, r->hole_until,   r->back_at};
        int64_t begin = (int64_t)r->day * SLOTS_A_DAY + roll[m];
        int absurd = (r->slot != NEVER && (r->slot < begin || r->slot >= begin + HOT)) ||
                     (r->day != NO_DAY && begin > floored(r->newest, SLOT_S)) ||
                     r->peak_hour > floored(r->newest, HOUR_S) || !is_known(r->slow_why, statistics, kinds) ||
                     !is_known(r->ev_why, statistics, kinds);
        for (size_t i = 0; i < sizeof times / sizeof *times; i++) absurd |= times[i] < NEVER || times[i] > LATEST;
        if (absurd && wrong == n) wrong = m;
    }
    return wrong;
}

int mw_record_size(void) { return sizeof(Record); }
