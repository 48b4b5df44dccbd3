// Both here, so that the app, whose Kotlin the Android plugin compiles, has the same version of it as core.
plugins {
    alias(libs.plugins.android.application) apply false
    alias(libs.plugins.kotlin.jvm) apply false
}
