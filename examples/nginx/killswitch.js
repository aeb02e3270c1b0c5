// The sticky split in njs (nginx JavaScript 0.7 or later): js_set $llm_model killswitch.model;
// Reads the flag document that sync.sh keeps on disk, at most once a second. Whatever goes wrong means control.
import crypto from 'crypto';
import fs from 'fs';

const FILE = '/run/killswitch/flag.json';
const FRESH_MS = 1000;
// sync.sh touches the file after every successful read: an armed flag that is older than this is not trusted
const GRACE_MS = 60000;

let flag = null;
let lookAgainAt = 0;

function current(path) {
    const now = Date.now();
    if (now >= lookAgainAt) {
        lookAgainAt = now + FRESH_MS;
        try {
            const document = JSON.parse(fs.readFileSync(path, 'utf8'));
            const sane = document.format === 1 && document.state === 'armed' && document.stage !== 'shadow'
                && typeof document.canary_percent === 'number' && typeof document.salt === 'string';
            const age = now - fs.statSync(path).mtimeMs;
            flag = sane && age < GRACE_MS ? document : null;
        } catch (e) {
            flag = null;
        }
    }
    return flag;
}

function bucket(salt, key) {
    const hex = crypto.createHash('sha256').update(salt + key).digest('hex');
    return (parseInt(hex.substring(0, 8), 16) % 10000) / 100;
}

function cohort(r) {
    const key = r.headersIn['x-user-id'];
    const armed = current(r.variables.killswitch_file || FILE);
    if (!armed || key === undefined) {
        return 'control';
    }
    return bucket(armed.salt, key) < armed.canary_percent ? 'canary' : 'control';
}

// Whose model serves: in the stage aa the canary's cohort gets the control model, and nothing would trip a canary.
function model(r) {
    return cohort(r) === 'canary' && flag.canary !== flag.control ? 'canary' : 'control';
}

export default { cohort, model, bucket };
