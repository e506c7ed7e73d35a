// The page to sign in.

import {startTheme} from "./theme.js";

startTheme();
